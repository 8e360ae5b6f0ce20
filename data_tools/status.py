"""Where a workspace stands: every file with its verdict, and what each later step would do. Reads; changes nothing."""

import datetime
from typing import Any, Final

from data_tools.catalog import Catalog, ShotRow
from data_tools.colour import ColourFinder
from data_tools.due import CHANGED, OLD, STATED_ANEW, WITHOUT_SHOTS, Known
from data_tools.rights import RightsFinder
from data_tools.tags import count_statuses, is_measured
from lora_studio import files
from lora_studio.records import Footage
from lora_studio.workspace import Workspace

_MISSING: Final = "missing"
_NOTES: Final = {  # on_disk -> of one file
    _MISSING: "file is missing", CHANGED: "file is changed", STATED_ANEW: "its colours were stated anew",
    WITHOUT_SHOTS: "its normalised shots are missing", OLD: "normalised by an older version",
}  # fmt: skip
_AGAIN: Final = {  # on_disk -> of files that ingest reads again
    CHANGED: "changed files", STATED_ANEW: "files whose colour.toml was stated anew",
    WITHOUT_SHOTS: "files whose shots are missing", OLD: "files normalised by an older version",
}  # fmt: skip


def status_of(workspace: Workspace) -> dict[str, Any]:
    """The state of a workspace as plain values: `footage`, `shots`, `tags`, `dataset` and `next` (step -> what it would do)."""
    catalog = Catalog(workspace)
    finder = RightsFinder(workspace)
    rows = catalog.shots()
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.shot.footage_id] = counts.get(row.shot.footage_id, 0) + 1
    colours = ColourFinder(workspace)
    records = catalog.footage()
    known = Known.of(workspace, records, (row.shot for row in rows))
    footage = [_file(known, finder.refresh(record), colours, counts) for record in records]
    return {
        "workspace": str(workspace.root),
        "footage": footage,
        "shots": len(rows),
        "tags": count_statuses(rows),
        "dataset": _dataset(workspace),
        "next": _next(workspace, footage, rows),
    }


def _file(known: Known, record: Footage, colours: ColourFinder, counts: dict[str, int]) -> dict[str, Any]:
    path = known.workspace.absolute(record.path)
    on_disk = (known.why_again(record, colours.of(path)) or "unchanged") if path.is_file() else _MISSING
    return {
        "path": record.path, "status": record.status, "reason": record.reason, "warnings": list(record.warnings),
        "on_disk": on_disk, "colour": record.colour, "transform": record.transform,
        "shots": counts.get(record.footage_id, 0) if record.status == "usable" else 0,
        "has_shots": record.status == "usable" and known.lack(record) != WITHOUT_SHOTS,
        "rights": record.rights.objection(datetime.date.today()) or "cleared",
    }  # fmt: skip


def _dataset(workspace: Workspace) -> dict[str, Any] | None:
    manifest, ledger = workspace.dataset / "manifest.json", workspace.dataset / "ledger.json"
    if not manifest.is_file() or not ledger.is_file():
        return None
    made, totals = files.read_json(manifest), files.read_json(ledger)["totals"]
    return {"model": made["model"], "train": made["num_train"], "held_out": made["num_held_out"], "totals": totals}


def _next(workspace: Workspace, footage: list[dict[str, Any]], rows: list[ShotRow]) -> dict[str, str]:
    if not footage:
        return {"ingest": f"nothing is taken in yet: data-tools ingest {workspace.root} FOLDER"}
    numbers = {why: sum(entry["on_disk"] == why for entry in footage) for why in _AGAIN}
    again = " and ".join(f"{number} {_AGAIN[why]}" for why, number in numbers.items() if number)
    away = sum(entry["on_disk"] == _MISSING and entry["status"] == "usable" and not entry["has_shots"] for entry in footage)
    steps = [f"read {again} again"] * bool(again) + [f"bring back {away} missing files, whose shots are missing too"] * bool(away)
    unmeasured = sum(not is_measured(row) for row in rows)
    bare = sum(not row.shot.caption_long for row in rows)
    cleared = {entry["path"] for entry in footage if entry["status"] == "usable" and entry["rights"] == "cleared"}
    return {
        "ingest": "; ".join(steps) or "nothing, unless a folder holds new files",
        "tag": f"measure {unmeasured} of {len(rows)} shots" if unmeasured else "nothing, unless a report or the model changed",
        "caption": f"write captions for {bare} of {len(rows)} shots" if bare else "nothing, unless tags changed",
        "build": f"use footage of {len(cleared)} files with cleared rights"
        + ("" if _dataset(workspace) is not None else "; no dataset is built yet"),
    }


def to_text(found: dict[str, Any]) -> str:
    """The state for a terminal."""
    lines = [f"{entry['path']}: {verdict(entry)}" for entry in found["footage"]]
    built = found["dataset"]
    summary = f"{built['train']} train and {built['held_out']} held-out clips for {built['model']}" if built else "not built"
    steps = [f"  {step}: {what}" for step, what in found["next"].items()]
    return "\n".join([*lines, "", f"{found['shots']} shots; dataset: {summary}", "next:", *steps])


def verdict(entry: dict[str, Any]) -> str:
    """One file's verdict in words."""
    if entry["status"] == "quarantined":
        return f"quarantined: {entry['reason']}"
    notes = [f"{entry['shots']} shots", *entry["warnings"]]
    notes += [f"rights: {entry['rights']}"] if entry["rights"] != "cleared" else []
    notes += [entry["transform"]] if entry["transform"] else []
    notes += [_NOTES[entry["on_disk"]]] if entry["on_disk"] in _NOTES else []
    return f"usable ({'; '.join(notes)})"
