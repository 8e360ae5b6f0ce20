"""Camera reports: what the crew wrote down about each shot, read from `camera_report.csv`. Trusts no column it does not know.

    file,start_s,content,angle.scale,light.direction
    day1/a001.mp4,0,a red bottle on a table,medium,side_left
    day1/a001.mp4,12.5,a hand takes the bottle,close_up,

`file` is a path from the report's own folder, or a bare name that occurs once below it; a row speaks from `start_s` of the
file on, until the next one. Empty cells say nothing.
"""

import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.beside import folders_above, taken_in_folders
from lora_studio.errors import FootageError
from lora_studio.records import Footage, Shot
from lora_studio.taxonomy import AXES, UNKNOWN, allowed, is_value
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

REPORT_FILE = "camera_report.csv"
_REQUIRED = ("file", "start_s")
_COLUMNS = (*_REQUIRED, "content", *AXES)


@dataclass(frozen=True)
class Row:
    """What a report says of a file from `start_s` on: words by axis, and what is in the picture."""

    start_s: float
    content: str
    words: dict[str, str]


@dataclass(frozen=True)
class Reports:
    """The rows that hold for each footage file, by footage id, in order of time.

    `offline` are the files in folders that are not there now: what their reports said before still holds.
    """

    rows: dict[str, list[Row]]
    offline: frozenset[str] = frozenset()

    def of(self, shot: Shot) -> Row | None:
        """The last row that begins before the middle of a shot."""
        middle = (shot.start_s + shot.end_s) / 2
        return next((row for row in reversed(self.rows.get(shot.footage_id, [])) if row.start_s <= middle), None)


def read_reports(workspace: Workspace, footage: Sequence[Footage]) -> Reports:
    """Reads every report below the folders that were taken in; for a file the nearest report above it holds.

    Raises:
        FootageError: a report has an unknown column or word; the message names file, line and what is allowed.
    """
    roots = taken_in_folders(workspace)
    reports = sorted({path for root in roots if root.is_dir() for path in root.rglob(REPORT_FILE)})
    by_path = {workspace.absolute(record.path): record for record in footage if record.status == "usable"}
    rows: dict[str, list[Row]] = {}
    depth: dict[str, int] = {}
    for report in reports:
        for path, stated in _read(report, list(by_path)).items():
            footage_id, distance = by_path[path].footage_id, _distance(path, report, roots)
            if footage_id not in rows or distance < depth[footage_id]:
                rows[footage_id], depth[footage_id] = sorted(stated, key=lambda row: row.start_s), distance
    away = [root for root in roots if not root.is_dir()]
    offline = {record.footage_id for path, record in by_path.items() if any(root in path.parents for root in away)}
    return Reports(rows, frozenset(offline))


def _distance(path: Path, report: Path, roots: list[Path]) -> int:
    above = folders_above(path, roots)
    return above.index(report.parent) if report.parent in above else len(above)


def _read(report: Path, footage: list[Path]) -> dict[Path, list[Row]]:
    try:
        text = report.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FootageError(f"{report}: not UTF-8 text: save it as CSV (UTF-8)") from None
    lines = csv.DictReader(text.splitlines())
    _check_columns(report, list(lines.fieldnames or []))
    found: dict[Path, list[Row]] = {}
    for cells in lines:
        place = f"{report}, line {lines.line_num}"
        row = _row(place, cells)
        path = _find(report.parent, (cells["file"] or "").strip(), footage)
        if path is None:
            logger.warning("%s: no usable footage is called %r; the row is left out", place, cells["file"])
            continue
        found.setdefault(path, []).append(row)
    return found


def _check_columns(report: Path, columns: list[str]) -> None:
    unknown = [column for column in columns if column not in _COLUMNS]
    missing = [column for column in _REQUIRED if column not in columns]
    if unknown or missing:
        what = f"unknown column {', '.join(map(repr, unknown))}" if unknown else f"column {', '.join(missing)} is missing"
        raise FootageError(f"{report}, line 1: {what}; allowed are {', '.join(_COLUMNS)}")


def _row(place: str, cells: dict[str, str | None]) -> Row:
    if None in cells:
        raise FootageError(f"{place}: more cells than columns: put text with commas into double quotes")
    words = {axis: cell.strip() for axis in AXES if (cell := cells.get(axis)) and cell.strip() not in ("", UNKNOWN)}
    for axis, word in words.items():
        if not is_value(axis, word):
            raise FootageError(f"{place}: {axis} must be empty or {allowed(axis)}; got {word!r}")
    text = (cells["start_s"] or "0").strip()
    try:
        start_s = float(text)
    except ValueError:
        start_s = math.nan
    if not (math.isfinite(start_s) and start_s >= 0):
        raise FootageError(f"{place}: start_s must be seconds from the start of the file, got {text!r}")
    return Row(start_s, " ".join((cells.get("content") or "").split()).rstrip("."), words)


def _find(folder: Path, name: str, footage: list[Path]) -> Path | None:
    named = folder / name
    if named in footage:
        return named
    alike = [path for path in footage if path.name == name and folder in path.parents]
    return alike[0] if len(alike) == 1 else None
