"""Taking a clearance back after the fact: what is withdrawn, and what was made with it. Deletes nothing that a person made.

`withdrawn.toml` in the workspace names each withdrawn file by its content, so that a renamed copy stays withdrawn:

    [[withdrawn]]
    sha256 = "..."
    path = "footage/day1/a001.mp4"
    on = "2026-11-26"
    reason = "release of person p-07 revoked"
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import Field

from data_tools.beside import taken_in_folders
from data_tools.catalog import Catalog
from lora_studio import files, settings
from lora_studio.errors import RightsError
from lora_studio.records import Footage, Record
from lora_studio.runs import Run, run_named
from lora_studio.workspace import Workspace

FILE = "withdrawn.toml"
_EXPORTS = "exports.json"  # in the catalog folder: where datasets were exported to, and which


class Withdrawn(Record):
    """One file whose clearance was taken back."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    path: str
    on: date
    reason: str = Field(min_length=1)


class Book(Record):
    """withdrawn.toml."""

    withdrawn: tuple[Withdrawn, ...] = ()


@dataclass(frozen=True)
class Effect:
    """What a withdrawal touches: files, whether the dataset was made with them, runs trained on them, and runs of which that is not
    known because their dataset was built before such things were noted."""

    footage: list[Footage]
    is_in_dataset: bool
    runs: list[str]
    unknown_runs: list[str]
    exports: list[str]  # folders with clips of it, or of a dataset of which it is not known


def read_book(workspace: Workspace) -> Book:
    """Everything that was withdrawn in a workspace.

    Raises:
        RightsError: withdrawn.toml is wrong.
    """
    path = workspace.root / FILE
    return settings.validate(Book, settings.read_toml(path, RightsError), path, RightsError) if path.is_file() else Book()


def withdraw(workspace: Workspace, names: Sequence[str], reason: str, today: date) -> Effect:
    """Withdraws files; the dataset that was made with one of them is no dataset any more.

    Args:
        workspace: where they were taken in.
        names: paths, absolute or relative to the workspace, a folder taken in or the current folder; or file names that occur once.
        reason: one line for the record.
        today: the day that is written down.

    Raises:
        RightsError: a name is not known or not unique (nothing is withdrawn then), or there is no reason.
    """
    if not reason.strip():
        raise RightsError("a withdrawal needs a reason: --reason TEXT")
    known = Catalog(workspace).footage()
    found = [_find(workspace, known, name) for name in names]
    book = read_book(workspace)
    there = {one.sha256 for one in book.withdrawn}
    new = [
        Withdrawn(sha256=record.sha256, path=record.path, on=today, reason=reason.strip())
        for record in {record.sha256: record for record in found}.values()
        if record.sha256 not in there
    ]
    table = Book(withdrawn=(*book.withdrawn, *new)).model_dump(mode="json")
    files.write_text(workspace.root / FILE, settings.to_toml(table))
    effect = effect_of(workspace, found)
    if effect.is_in_dataset:
        (workspace.dataset / "manifest.json").unlink(missing_ok=True)
    return effect


def effect_of(workspace: Workspace, footage: list[Footage]) -> Effect:
    """What was made with some files."""
    sha256s = {record.sha256 for record in footage}
    runs, unknown = [], []
    for run in _runs(workspace):
        state = run.state()
        used = None if state is None else made_of(workspace, state.dataset_sha256)
        if used is None:
            unknown.append(run.name)
        elif sha256s & set(used):
            runs.append(run.name)
    is_in_dataset = _is_in_dataset(workspace, {record.footage_id for record in footage})
    return Effect(footage, is_in_dataset, runs, unknown, _exports_of(workspace, sha256s))


def note_export(workspace: Workspace, folder: Path, dataset_sha256: str, *, is_whole: bool) -> None:
    """Keeps which dataset was exported to a folder; until that is whole, clips of those before it may lie there still."""
    stored, known = workspace.relative(Path(os.path.abspath(folder))), _exports(workspace)
    before = [] if is_whole else known.get(stored, [])
    files.write_json(workspace.catalog / _EXPORTS, {**known, stored: sorted({*before, dataset_sha256})})


def _exports(workspace: Workspace) -> dict[str, list[str]]:
    path = workspace.catalog / _EXPORTS
    return files.read_json(path) if path.is_file() else {}


def _exports_of(workspace: Workspace, sha256s: set[str]) -> list[str]:
    found = []
    for stored, datasets in sorted(_exports(workspace).items()):
        made = [made_of(workspace, dataset) for dataset in datasets]
        if any(used is None or sha256s & set(used) for used in made):
            found.append(str(workspace.absolute(stored)))
    return found


def _is_in_dataset(workspace: Workspace, footage_ids: set[str]) -> bool:
    ledger = workspace.dataset / "ledger.json"
    if not (workspace.dataset / "manifest.json").is_file() or not ledger.is_file():
        return False
    return any(line["num_clips"] and line["footage_id"] in footage_ids for line in files.read_json(ledger)["shots"])


def note_dataset(workspace: Workspace, dataset_sha256: str, footage: dict[str, str]) -> None:
    """Keeps what a dataset was made of: the hash of each footage file -> its path."""
    files.write_json(workspace.dataset / "history" / f"{dataset_sha256}.json", {"schema": 1, "footage": footage})


def made_of(workspace: Workspace, dataset_sha256: str) -> dict[str, str] | None:
    """What `note_dataset` kept; None where nothing was."""
    path = workspace.dataset / "history" / f"{dataset_sha256}.json"
    return files.read_json(path)["footage"] if path.is_file() else None


def _runs(workspace: Workspace) -> list[Run]:
    folders = sorted(path for path in workspace.runs.glob("*") if path.is_dir())
    return [run for run in (run_named(workspace, folder.name) for folder in folders) if run.state() is not None]


def _find(workspace: Workspace, known: Sequence[Footage], name: str) -> Footage:
    folders = [Path.cwd(), workspace.root]
    folders += [workspace.footage, *taken_in_folders(workspace)] if Path(name).name != name else []  # a bare name must be unique
    meant = {workspace.relative(Path(os.path.normpath(folder / name))) for folder in folders}
    same = [record for record in known if record.path in meant]
    if not same and Path(name).exists():  # the way there leads over a link
        same = [record for record in known if os.path.realpath(workspace.absolute(record.path)) == os.path.realpath(name)]
    alike = same or [record for record in known if record.path.rsplit("/", 1)[-1] == name]
    if len(alike) != 1:
        what = f"{len(alike)} files are called that: {', '.join(record.path for record in alike)}" if alike else "no such footage"
        raise RightsError(f"{name}: {what}; give its whole path, or one as `data-tools status` prints it. Nothing was withdrawn")
    if not alike[0].sha256:
        raise RightsError(f"{name}: it could never be read, so there is nothing to withdraw. Nothing was withdrawn")
    return alike[0]
