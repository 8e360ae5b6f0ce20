"""What people say of shots: a book of statements that only grows. Knows no video, no table and no page.

`corrections.jsonl` in the workspace, a line for each statement, oldest first:

    {"at": "2026-11-26T10:00:00+00:00", "by": "Ana Berg", "shots": ["4be1..."], "axis": "light.key", "value": "low",
     "undoes": null, "renames": {}}

A later statement of the same shot and axis replaces an earlier one; "" takes it back; `unknown` says that nobody can tell, `na`
that it does not apply. A line with `undoes` N makes line N count no more. A line with `renames` hands what was said so far of one
shot to another: the same part of the same file, in other colours. The book is read each time, so a statement survives every
re-run of every step.
"""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import Field, ValidationError

from lora_studio.errors import FootageError, WorkspaceError
from lora_studio.records import Record
from lora_studio.taxonomy import AXES, allowed, is_value
from lora_studio.workspace import Workspace

FILE: Final = "corrections.jsonl"
CONTENT: Final = "content"  # the words for what is in the picture, beside the axes of the taxonomy
MOST_WORDS: Final = 300  # characters of `content`

Said = dict[str, dict[str, str]]  # shot id -> axis or "content" -> value


class Correction(Record):
    """One statement about some shots, or the undoing of one."""

    at: str  # ISO 8601, UTC
    by: str = Field(min_length=1, max_length=60)
    shots: tuple[str, ...] = ()
    axis: str = ""
    value: str = ""
    undoes: int | None = Field(default=None, ge=0)  # the number of a line, from 0
    renames: dict[str, str] = Field(default_factory=dict)  # shot id of before -> of now


def read_corrections(workspace: Workspace) -> list[Correction]:
    """Every line of the book.

    Raises:
        WorkspaceError: a line is damaged.
    """
    path = workspace.root / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Correction.model_validate_json(line))
        except ValidationError as fault:
            told = fault.errors()[0]["msg"]
            raise WorkspaceError(f"{path}, line {number} is damaged ({told}): mend or delete that line") from None
    return found


def write_correction(workspace: Workspace, shots: Sequence[str], axis: str, value: str, by: str, at: datetime) -> Correction:
    """Adds a statement about shots.

    Args:
        workspace: of the shots.
        shots: their ids.
        axis: one of the taxonomy, or "content".
        value: of that axis, several joined by + where it has several, `unknown`, `na`, or "" to take back what was said; for
            "content" one line of words.
        by: who says it.
        at: when, with a time zone.

    Raises:
        FootageError: there is no such axis or value, or nobody says it.
    """
    value = " ".join(value.split())
    if axis == CONTENT:
        if len(value) > MOST_WORDS:
            raise FootageError(f"content has {len(value)} characters: at most {MOST_WORDS} fit a caption")
    elif axis not in AXES:
        raise FootageError(f"there is no axis {axis!r}: it is one of {', '.join([*AXES, CONTENT])}")
    elif value and not is_value(axis, value):
        raise FootageError(f"{axis} cannot be {value!r}: it is {allowed(axis)}")
    return _write(workspace, {"shots": tuple(shots), "axis": axis, "value": value}, by, at)


def undo_correction(workspace: Workspace, by: str, at: datetime) -> Correction | None:
    """Makes the last statement that still counts count no more; returns it with today's shot ids, None if there is none."""
    book = read_corrections(workspace)
    standing = _standing(book)
    if not standing:
        return None
    _write(workspace, {"undoes": standing[-1]}, by, at)
    undone = book[standing[-1]]
    for line in book[standing[-1] + 1 :]:
        undone = undone.model_copy(update={"shots": tuple(line.renames.get(shot, shot) for shot in undone.shots)})
    return undone


def carry_over(workspace: Workspace, renames: dict[str, str], at: datetime) -> None:
    """Hands what people said of shots to those that take their place, by id; nothing is written where nothing was said.

    Raises:
        WorkspaceError: a line of the book is damaged.
    """
    said = said_by_people(read_corrections(workspace))
    spoken_of = {old: new for old, new in renames.items() if old in said}
    if spoken_of:
        _write(workspace, {"renames": spoken_of}, "ingest", at)


def said_by_people(book: Sequence[Correction]) -> Said:
    """What counts now."""
    found: Said = {}
    standing = set(_standing(book))
    for number, line in enumerate(book):
        for old, new in line.renames.items():
            found[new] = found.get(new, {}) | found.pop(old, {})
        for shot in line.shots if number in standing else ():
            words = found.setdefault(shot, {})
            words.pop(line.axis, None)
            if line.value:
                words[line.axis] = line.value
    return {shot: words for shot, words in found.items() if words}


def _standing(book: Sequence[Correction]) -> list[int]:
    """The numbers of the statements that nobody undid."""
    undone = {line.undoes for line in book if line.undoes is not None}
    return [number for number, line in enumerate(book) if line.axis and number not in undone]


def _write(workspace: Workspace, told: dict[str, object], by: str, at: datetime) -> Correction:
    by = " ".join(by.split())
    if not 0 < len(by) <= 60:
        raise FootageError(f"a correction needs the name of who makes it, of at most 60 characters; got {by!r}")
    line = Correction.model_validate({"at": at.isoformat(timespec="seconds"), "by": by, **told})
    with (workspace.root / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return line
