"""Runs every recording found in a folder and says how far ours is from it. The one entry to this room."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.errors import ModelError
from lora_studio.parity import autoencoder, backbone, learning, sampling, schedules, whole, words
from lora_studio.parity.manifests import check_manifest
from lora_studio.parity.recordings import FACTS, MALFORMED, TENSORS, Recording, Row

WITHIN, BEYOND, UNCHECKED, DAMAGED = 0, 1, 2, 3  # exit status


@dataclass(frozen=True)
class SetReport:
    """What came of one set."""

    name: str
    kind: str
    rows: list[Row]
    not_checked: list[str]
    notes: list[str]
    fault: str = ""  # what is missing or damaged
    remarks: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """BEYOND, DAMAGED, UNCHECKED or WITHIN, the first that holds."""
        if not all(row.ok for row in self.rows):
            return BEYOND
        if self.fault:
            return DAMAGED
        return UNCHECKED if self.not_checked or self.notes or not self.rows else WITHIN


def replay_folder(folder: Path) -> Iterator[SetReport]:
    """Replays a set, or every set and manifest in a folder of sets. One that is damaged does not keep others from being replayed.

    Raises:
        ModelError: there is no recording.
    """
    places = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    sets = [path for path in places if (path / FACTS).is_file() or (path / TENSORS).is_file()]
    manifests = sorted(folder.glob("manifest_*.json"))
    if not sets and not manifests:
        raise ModelError(f"no recording in {folder}: a set is a folder with {FACTS} and {TENSORS}")
    for path in sets:
        yield replay_set(path)
    for path in manifests:
        yield _manifest(path)


def replay_set(folder: Path) -> SetReport:
    """Replays one set. What it lacks or holds beyond what is known ends in a note, and its tensors and facts as not checked."""
    try:
        recording = Recording.open(folder)
    except ModelError as fault:
        return SetReport(folder.name, "damaged", [], [], [], str(fault))
    kind, damage = "unknown", ""
    try:
        kind, replays = _kind(recording)
        for replay in replays:
            _replay(recording, replay)
        if not replays:
            recording.notes.append("this kind of recording is not known here")
    except ModelError as fault:
        damage = str(fault)
    return SetReport(folder.name, kind, recording.rows, recording.not_checked, recording.notes, damage, recording.remarks)


def _replay(recording: Recording, replay: Callable[[Recording], None]) -> None:
    """One part of a set; what it lacks keeps no other part from being replayed, unless a file is missing or damaged."""
    try:
        replay(recording)
    except MALFORMED as fault:
        recording.lacks(replay.__module__.rpartition(".")[2], fault)


def as_json(reports: list[SetReport]) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "sets": [
            {
                "name": report.name, "kind": report.kind, "status": report.status, "not_checked": report.not_checked,
                "notes": report.notes, "remarks": report.remarks, "fault": report.fault,
                "tensors": [{"key": r.key, "max_abs_error": r.error, "tolerance": r.tolerance, "ok": r.ok} for r in report.rows],
            }
            for report in reports
        ],
        "compared": sum(len(report.rows) for report in reports),
        "beyond": sum(not row.ok for report in reports for row in report.rows),
        "not_checked": sum(len(report.not_checked) for report in reports),
        "status": status_of(reports),
    }  # fmt: skip


def status_of(reports: list[SetReport]) -> int:
    """Exit status of all: BEYOND before DAMAGED before UNCHECKED before WITHIN."""
    found = {report.status for report in reports}
    return next(status for status in (BEYOND, DAMAGED, UNCHECKED, WITHIN) if status in found)


def as_lines(reports: list[SetReport]) -> Iterator[str]:
    """Everything, for people."""
    for report in reports:
        yield f"{report.name} ({report.kind})"
        for row in report.rows:
            yield f"  {'ok  ' if row.ok else 'FAIL'} {row.key}: error {row.error:.2e}, tolerance {row.tolerance:.1e}"
        yield from (f"  NOT CHECKED {key}" for key in report.not_checked)
        yield from (f"  note: {note}" for note in report.notes)
        yield from (f"  remark: {remark}" for remark in report.remarks)
        yield from ([f"  FAULT {report.fault}"] if report.fault else [])
    totals = as_json(reports)
    yield (
        f"{totals['compared']} compared in {len(reports)} sets, {totals['beyond']} beyond tolerance, "
        f"{totals['not_checked']} recorded tensors and facts not checked"
    )


def _kind(recording: Recording) -> tuple[str, list[Callable[[Recording], None]]]:
    """A set's kind is told by what it holds, never by its name."""
    if "in.x" in recording and "arch" in recording.config:
        return "transformer", [backbone.replay, learning.replay, sampling.replay]
    if "cases" in recording.facts and (recording.folder / "pipeline").is_dir():
        return "pipeline", [whole.replay]
    if "prompts" in recording.facts:
        return "text", [words.replay]
    if any(key.startswith(("fm.", "ddpm.")) for key in recording.tensors):
        return "schedules", [schedules.replay]
    if any(key.endswith((".x", ".z")) or ".moments" in key for key in recording.tensors):
        return "autoencoder", [autoencoder.replay]
    return "unknown", []


def _manifest(path: Path) -> SetReport:
    try:
        found = check_manifest(path)
        want, have = found.pop("parameters")
    except (ModelError, *MALFORMED) as fault:
        return SetReport(path.stem, "damaged", [], [], [], f"{path}: not a manifest: {type(fault).__name__}: {fault}")
    rows = [Row(f"{name} names", float(len(names)), 0.0) for name, names in found.items()]
    rows.append(Row("parameters", float(abs(want - have)), 0.0))
    notes = [f"{name}: {', '.join(names[:5])}" for name, names in found.items() if names]
    return SetReport(path.stem, "manifest", rows, [], notes)
