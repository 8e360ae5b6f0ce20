"""What the footage covers: a table of two axes, its margins, what is confounded, and what to shoot next. Counts; opens no video.

Forty takes of one set-up teach as much as one: a cell counts distinct scenes, each with the confidence of its surest shot. Where a
tag is not sure the shot stands in that axis's `unknown` row or column and is spread nowhere. The target is an even table.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np

from data_tools.catalog import Catalog
from data_tools.fusion import main_value
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.records import Shot, Tag
from lora_studio.taxonomy import AXES, COARSE_SCALE, UNKNOWN
from lora_studio.workspace import Workspace

_NUM_ADVICE = 5
_NUM_DOUBTFUL, _DOUBTFUL = 3, 0.8  # so many of the cells below this confidence are named
_CONFOUNDED_V, _CONFOUNDED_SCENES = 0.6, 6  # Cramer's V from which, and scenes below which nothing is said


@dataclass(frozen=True)
class Cell:
    """One cell: shots, distinct scenes, seconds, mean confidence of the shots' two tags, share of shots with a tag by a person, and
    scenes weighed by confidence."""

    row: str
    column: str
    shots: int
    scenes: int
    seconds: float
    confidence: float
    human: float
    effective: float


@dataclass(frozen=True)
class Sureness:
    """How well one axis is known: shots, those whose value is sure enough to count, and of these the mean confidence and the share
    that a person has said."""

    axis: str
    shots: int
    told: int
    confidence: float
    human: float


@dataclass(frozen=True)
class Coverage:
    """The whole table; `cells` go row by row, `unknown` last. `target` is the effective number an even table would have."""

    rows_axis: str
    columns_axis: str
    cells: tuple[Cell, ...]
    target: float
    advice: tuple[str, ...]
    confounded: tuple[str, ...]
    sureness: tuple[Sureness, ...]  # of the two axes

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
            here = [shot for shot in shots if stands_in(shot, rows_axis, columns_axis) == (row, column)]
            cells.append(_cell(row, column, here, rows_axis, columns_axis))
    known = [cell for cell in cells if UNKNOWN not in (cell.row, cell.column)]
    target = max(1.0, sum(cell.effective for cell in known) / len(known))
    return Coverage(rows_axis, columns_axis, tuple(cells), round(target, 3), _advice(known, target, rows_axis, columns_axis),
                    tuple(confounded(shots)), tuple(_sureness(shots, axis) for axis in (rows_axis, columns_axis)))  # fmt: skip


def _sureness(shots: Sequence[Shot], axis: str) -> Sureness:
    tags = [shot.tags[axis] for shot in shots if _value(shot, axis) != UNKNOWN]
    if not tags:
        return Sureness(axis, len(shots), 0, 0.0, 0.0)
    confidence, human = (np.mean([tag.confidence for tag in tags]), np.mean([tag.source == "human" for tag in tags]))
    return Sureness(axis, len(shots), len(tags), round(float(confidence), 3), round(float(human), 3))


def stands_in(shot: Shot, rows_axis: str, columns_axis: str) -> tuple[str, str]:
    """Row and column of the cell a shot is counted in."""
    return _value(shot, rows_axis), _value(shot, columns_axis)


def _cell(row: str, column: str, shots: list[Shot], rows_axis: str, columns_axis: str) -> Cell:
    scenes: dict[str, float] = {}
    for shot in shots:
        scene, sure = shot.scene or shot.shot_id, _confidence(shot, rows_axis) * _confidence(shot, columns_axis)
        scenes[scene] = max(scenes.get(scene, 0.0), sure)
    confidences = [(_confidence(shot, rows_axis) + _confidence(shot, columns_axis)) / 2 for shot in shots]
    human = [any(shot.tags.get(axis, Tag()).source == "human" for axis in (rows_axis, columns_axis)) for shot in shots]
    return Cell(
        row=row, column=column, shots=len(shots), scenes=len(scenes),
        seconds=round(sum(shot.end_s - shot.start_s for shot in shots), 2),
        confidence=round(float(np.mean(confidences)), 3) if shots else 0.0, human=round(float(np.mean(human)), 3) if shots else 0.0,
        effective=round(sum(scenes.values()), 3),
    )  # fmt: skip


def confounded(shots: Sequence[Shot]) -> list[str]:
    """Pairs of axes that vary together so closely that an adapter will learn them as one, the closest first, in words.

    Counts each scene once, and those alone whose tags on both axes are sure: at least six. The measure is Cramer's V without its
    bias in small samples (Bergsma, 2013): six scenes that all differ are no evidence.
    """
    firsts = {shot.scene or shot.shot_id: shot for shot in reversed(shots)}.values()
    found = []
    for one, other in combinations(AXES, 2):
        pairs = [(_value(shot, one), _value(shot, other)) for shot in firsts]
        pairs = [pair for pair in pairs if UNKNOWN not in pair]
        rows, columns = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
        if len(pairs) < _CONFOUNDED_SCENES or len(rows) < 2 or len(columns) < 2:
            continue
        table = np.array([[pairs.count((row, column)) for column in columns] for row in rows])
        closeness = cramers_v(table)
        if closeness >= _CONFOUNDED_V:
            row, column = np.unravel_index(table.argmax(), table.shape)
            seen = f"in {table[row, column]} of {table[row].sum()} scenes (Cramer's V {closeness:.2f} over {len(pairs)})"
            words = f"{one} {rows[row]} goes with {other} {columns[column]} {seen}: an adapter will learn them as one"
            found.append((closeness, words))
    return [words for _, words in sorted(found, key=lambda pair: -pair[0])]


def cramers_v(table: np.ndarray) -> float:
    """Bias-corrected Cramer's V, 0 to 1, of a table of counts without empty rows or columns, at least 2 x 2."""
    total, (rows, columns) = table.sum(), table.shape
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / total
    phi = ((table - expected) ** 2 / expected).sum() / total - (rows - 1) * (columns - 1) / (total - 1)
    smaller = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1)) - 1
    return float(np.sqrt(max(0.0, phi) / smaller)) if smaller > 0 else 0.0


def _values(axis: str) -> list[str]:
    words = list(dict.fromkeys(COARSE_SCALE.values())) if axis == "angle.scale" else list(AXES[axis])
    return [*words, UNKNOWN]


def _value(shot: Shot, axis: str) -> str:
    value = main_value(shot.tags.get(axis))
    return COARSE_SCALE.get(value, value) if axis == "angle.scale" else value


def _confidence(shot: Shot, axis: str) -> float:
    return shot.tags.get(axis, Tag()).confidence


def _advice(known: list[Cell], target: float, rows_axis: str, columns_axis: str) -> tuple[str, ...]:
    """The emptiest cells first; between equals, the one whose row and column are better filled is easier to shoot."""

    def ease(cell: Cell) -> float:
        return sum(other.effective for other in known if (other.row == cell.row) != (other.column == cell.column))

    lacking = sorted((cell for cell in known if cell.effective < target), key=lambda cell: (cell.effective - target, -ease(cell)))
    return tuple(
        f"{rows_axis} {cell.row} with {columns_axis} {cell.column}: {counted(cell.scenes, 'scene')}, "
        f"{math.ceil(target - cell.effective)} more wanted"
        for cell in lacking[:_NUM_ADVICE]
    )


def counted(number: int, thing: str) -> str:
    """A number and its noun: no scene, 1 scene, 2 scenes."""
    return f"{number or 'no'} {thing}{'s' if number > 1 else ''}"


def to_text(found: Coverage) -> str:
    """The table for a terminal (scenes in each cell, shots in the margins), how sure it is, advice, and what is confounded."""
    head = [f"{found.rows_axis} \\ {found.columns_axis}", *found.columns, "all"]
    lines = [[row, *(str(found.at(row, c).scenes or ".") for c in found.columns), str(found.margin(row=row))] for row in found.rows]
    lines.append(["all", *(str(found.margin(column=c)) for c in found.columns), str(found.margin())])
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    table = "\n".join(_aligned(line, widths) for line in (head, *lines))
    sure = "\n".join(f"  {line}" for line in (*map(_in_words, found.sureness), *_doubtful(found)))
    advice = "\n".join(f"  {line}" for line in found.advice) or "  nothing: the table is even"
    entangled = "\n".join(f"  {line}" for line in found.confounded) or "  nothing that can be told"
    return (
        f"{table}\n(distinct scenes; in the margins all shots)\n\nhow sure these tags are:\n{sure}\n\nshoot next:\n{advice}\n\n"
        f"confounded:\n{entangled}"
    )


def _in_words(sure: Sureness) -> str:
    told = f"{sure.axis}: known for {sure.told} of {counted(sure.shots, 'shot')}"
    return f"{told}; on average {sure.confidence:.0%} sure, {_by_people(sure.human)}" if sure.told else told


def _by_people(share: float) -> str:
    return f"{share:.0%} said by a person" if share else "none said by a person"


def _doubtful(found: Coverage) -> list[str]:
    """The cells whose shots are least surely in them, and what to do."""
    cells = [cell for cell in found.cells if cell.shots and UNKNOWN not in (cell.row, cell.column) and cell.confidence < _DOUBTFUL]
    doubtful = sorted(cells, key=lambda cell: cell.confidence)[:_NUM_DOUBTFUL]
    places = [f"{cell.row} with {cell.column}, {counted(cell.shots, 'shot')}" for cell in doubtful]
    lines = [
        f"least sure: {place}: {cell.confidence:.0%} sure, {_by_people(cell.human)}"
        for place, cell in zip(places, doubtful, strict=True)
    ]
    return [*lines, "what a person says is 100% sure: `data-tools review` shows these shots for correction"] if lines else []


def _aligned(line: list[str], widths: list[int]) -> str:
    others = [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *others])


def to_csv(found: Coverage) -> str:
    """One line per cell."""
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    numbers = ("shots", "scenes", "seconds", "confidence", "human", "effective")
    lines.writerow([found.rows_axis, found.columns_axis, *numbers])
    lines.writerows([cell.row, cell.column, *(getattr(cell, number) for number in numbers)] for cell in found.cells)
    return table.getvalue()


def to_json(found: Coverage) -> dict[str, object]:
    """The table as plain values."""
    return {
        "schema": 1, "rows": found.rows_axis, "columns": found.columns_axis, "target": found.target,
        "cells": [asdict(cell) for cell in found.cells], "advice": list(found.advice), "confounded": list(found.confounded),
        "sureness": [asdict(one) for one in found.sureness],
        "margins": {
            "rows": {row: found.margin(row=row) for row in found.rows},
            "columns": {column: found.margin(column=column) for column in found.columns},
        },
    }  # fmt: skip
