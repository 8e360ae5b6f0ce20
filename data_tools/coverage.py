"""What the footage covers: a table of two axes, its margins, and what to shoot next. Counts; opens no video.

A shot counts with the confidence of its two tags; where one is not sure the shot stands in that axis's `unknown` row or
column and is spread nowhere. The target is an even table.
"""

import csv
import io
from dataclasses import dataclass

from data_tools.catalog import Catalog
from data_tools.fusion import sure_value
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.records import Shot, Tag
from lora_studio.taxonomy import AXES, COARSE_SCALE, UNKNOWN
from lora_studio.workspace import Workspace

_NUM_ADVICE = 5


@dataclass(frozen=True)
class Cell:
    """One cell: how many shots, their seconds, and their number weighed by confidence."""

    row: str
    column: str
    shots: int
    seconds: float
    effective: float


@dataclass(frozen=True)
class Coverage:
    """The whole table; `cells` go row by row, `unknown` last. `target` is the effective number an even table would have."""

    rows_axis: str
    columns_axis: str
    cells: tuple[Cell, ...]
    target: float
    advice: tuple[str, ...]

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(cell.column for cell in self.cells))

    def at(self, row: str, column: str) -> Cell:
        return next(cell for cell in self.cells if (cell.row, cell.column) == (row, column))

    def margin(self, row: str | None = None, column: str | None = None) -> int:
        """Shots of one row, of one column, or of all."""
        return sum(cell.shots for cell in self.cells if row in (None, cell.row) and column in (None, cell.column))


def cover(workspace: Workspace, rows_axis: str = "angle.scale", columns_axis: str = "light.key") -> Coverage:
    """Counts the shots of a workspace and writes `catalog/coverage.csv` and `catalog/coverage.json`.

    Raises:
        FootageError: an axis is unknown, both are the same, or there is no tagged shot.
    """
    for option, axis in (("--rows", rows_axis), ("--cols", columns_axis)):
        if axis not in AXES:
            raise FootageError(f"{option} must be one of {', '.join(AXES)}, got {axis!r}")
    if rows_axis == columns_axis:
        raise FootageError(f"--rows and --cols must differ, got {rows_axis!r} twice")
    shots = [row.shot for row in Catalog(workspace).shots()]
    if not any(shot.tags for shot in shots):
        raise FootageError(f"nothing to count in {workspace.root}: run `data-tools ingest` and `data-tools tag` first")
    found = count(shots, rows_axis, columns_axis)
    files.write_text(workspace.catalog / "coverage.csv", to_csv(found))
    files.write_json(workspace.catalog / "coverage.json", to_json(found))
    return found


def count(shots: list[Shot], rows_axis: str, columns_axis: str) -> Coverage:
    """Counts shots into a table."""
    cells = []
    for row in _values(rows_axis):
        for column in _values(columns_axis):
            here = [shot for shot in shots if (_value(shot, rows_axis), _value(shot, columns_axis)) == (row, column)]
            seconds = sum(shot.end_s - shot.start_s for shot in here)
            effective = sum(_confidence(shot, rows_axis) * _confidence(shot, columns_axis) for shot in here)
            cells.append(Cell(row, column, len(here), round(seconds, 2), round(effective, 3)))
    known = [cell for cell in cells if UNKNOWN not in (cell.row, cell.column)]
    target = max(1.0, sum(cell.effective for cell in known) / len(known))
    return Coverage(rows_axis, columns_axis, tuple(cells), round(target, 3), _advice(known, target, rows_axis, columns_axis))


def _values(axis: str) -> list[str]:
    words = list(dict.fromkeys(COARSE_SCALE.values())) if axis == "angle.scale" else list(AXES[axis])
    return [*words, UNKNOWN]


def _value(shot: Shot, axis: str) -> str:
    value = sure_value(shot.tags.get(axis))
    return COARSE_SCALE.get(value, value) if axis == "angle.scale" else value


def _confidence(shot: Shot, axis: str) -> float:
    return shot.tags.get(axis, Tag()).confidence


def _advice(known: list[Cell], target: float, rows_axis: str, columns_axis: str) -> tuple[str, ...]:
    """The emptiest cells first; between equals, the one whose row and column are better filled is easier to shoot."""

    def ease(cell: Cell) -> float:
        return sum(other.effective for other in known if (other.row == cell.row) != (other.column == cell.column))

    lacking = sorted((cell for cell in known if cell.effective < target), key=lambda cell: (cell.effective - target, -ease(cell)))
    return tuple(
        f"{rows_axis} {cell.row} with {columns_axis} {cell.column}: {cell.shots} shots, {target - cell.effective:.1f} short"
        for cell in lacking[:_NUM_ADVICE]
    )


def to_text(found: Coverage) -> str:
    """The table for a terminal, with margins and advice."""
    head = [f"{found.rows_axis} \\ {found.columns_axis}", *found.columns, "all"]
    lines = [[row, *(str(found.at(row, c).shots or ".") for c in found.columns), str(found.margin(row=row))] for row in found.rows]
    lines.append(["all", *(str(found.margin(column=c)) for c in found.columns), str(found.margin())])
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    table = "\n".join(_aligned(line, widths) for line in (head, *lines))
    advice = "\n".join(f"  {line}" for line in found.advice) or "  nothing: the table is even"
    return f"{table}\n\nshoot next:\n{advice}"


def _aligned(line: list[str], widths: list[int]) -> str:
    others = [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *others])


def to_csv(found: Coverage) -> str:
    """One line per cell."""
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow([found.rows_axis, found.columns_axis, "shots", "seconds", "effective"])
    lines.writerows([cell.row, cell.column, cell.shots, cell.seconds, cell.effective] for cell in found.cells)
    return table.getvalue()


def to_json(found: Coverage) -> dict[str, object]:
    """The table as plain values."""
    return {
        "schema": 1, "rows": found.rows_axis, "columns": found.columns_axis, "target": found.target,
        "cells": [vars(cell) for cell in found.cells], "advice": list(found.advice),
        "margins": {
            "rows": {row: found.margin(row=row) for row in found.rows},
            "columns": {column: found.margin(column=column) for column in found.columns},
        },
    }  # fmt: skip
