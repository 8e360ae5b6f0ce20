"""Taking footage in: every video of a folder is looked at, hashed, parted into shots, or set aside with the reason.

Masters are opened in supervised child processes only (`intake.take_in` runs there). A file's result is written to the catalog as
soon as it is known, so a kill costs the files under way; a file whose size and date have not changed costs nothing.
"""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_tools import workers
from data_tools.beside import remember_folder
from data_tools.catalog import Catalog, ShotRow
from data_tools.colour import ColourFinder
from data_tools.corrections import carry_over
from data_tools.due import Known, is_unchanged, key_of, stamp
from data_tools.finding import find_videos
from data_tools.rights import RightsFinder
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.records import Footage, Rights, Shot
from lora_studio.workspace import Workspace

COPY = "the same file as "  # how the reason of a copy begins
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f} of {total} files [{elapsed}<{remaining}]"
_IDENTITY = {"footage_id", "sha256", "path", "size_bytes", "mtime_ns", "colour_stated", "rights"}
_HASHING_BYTES_PER_S = 20e6  # slower than any drive in use: how long a child may be silent over a large file


@dataclass(frozen=True)
class Ledger:
    """What one ingest did: `footage` is every file of the folder; `num_new` of them cost work."""

    footage: list[Footage]
    num_shots: dict[str, int]  # footage_id -> shots
    num_new: int


@dataclass(frozen=True)
class _New:
    """A file that is to be read, and what is known of it before: a file that changes meanwhile is read again next time."""

    path: Path
    colour: dict[str, Any]  # what `ColourFinder` found
    rights: Rights
    stamp: tuple[int, int]


def ingest_folder(
    workspace: Workspace,
    folder: Path,
    num_workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
    run: workers.Run = workers.run_supervised,
    *,
    retry: bool = False,
) -> Ledger:
    """Takes in every video file below a folder.

    Args:
        workspace: where it is noted.
        folder: any folder tree.
        num_workers: files read at once; None is as many as this machine has cores for.
        shard: (i, n): only the i-th of n parts of the files, told by their paths, so that n machines share the work.
        run: what reads them: `workers.run_supervised` or `on_ray.run_on_ray`.
        retry: read again what was refused, though it has not changed: it may have been the machine's fault.

    Raises:
        FootageError: no such folder, no video file in it (`finding.find_videos`), or a colour.toml in it is wrong.
        RightsError: a rights.toml in it is wrong.
        WorkspaceError: another ingest is at work in the workspace.
    """
    busy = f"another ingest is at work in {workspace.root}: wait for it, or share the work by --shard and merge"
    with files.only_one(workspace.catalog / ".ingest.lock", busy):
        return _ingest(workspace, Path(os.path.abspath(folder.expanduser())), num_workers, shard, run, retry=retry)


def _ingest(
    workspace: Workspace, folder: Path, num_workers: int | None, shard: tuple[int, int], run: workers.Run, *, retry: bool
) -> Ledger:
    there = find_videos(workspace, folder)
    paths = [path for path in there if in_shard(path, folder, shard)]
    catalog = Catalog(workspace)
    remember_folder(workspace, folder)
    finder, colours = RightsFinder(workspace), ColourFinder(workspace)
    finder.warn_of_unread(folder)
    finder.warn_of_idle_patterns(folder, there)
    rows = catalog.shots()
    known = Known.of(workspace, catalog.footage(), (row.shot for row in rows))
    stated = {path: colours.of(path) for path in paths}
    new = {
        workspace.relative(path): _New(path, stated[path], finder.of(path), stamp(path))
        for path in paths
        if _must_be_read(known, path, stated[path], retry=retry)
    }
    for left_over in workspace.shots.glob(".*.tmp.mp4"):
        left_over.unlink()
    if new:
        _work_through(catalog, known, rows, new, num_workers or workers.num_workers(), run)
    _order_copies(workspace, catalog)
    stored = {workspace.relative(path) for path in paths}
    records = [record for record in catalog.footage() if record.path in stored]
    refreshed = [finder.refresh(record) for record in records]
    catalog.put_footage(refreshed)
    _drop_orphans(workspace, catalog)
    catalog.compact()
    counts: dict[str, int] = {}
    for row in catalog.shots():
        counts[row.shot.footage_id] = counts.get(row.shot.footage_id, 0) + 1
    return Ledger(refreshed, counts, len(new))


def parse_shard(text: str) -> tuple[int, int]:
    """ "0/4" -> (0, 4).

    Raises:
        FootageError: it is no such pair.
    """
    index, slash, number = text.partition("/")
    if not (slash and index.isdecimal() and number.isdecimal() and int(index) < int(number)):
        raise FootageError(f"--shard must be I/N with I from 0 to N - 1, such as 0/4; got {text!r}")
    return int(index), int(number)


def in_shard(path: Path, folder: Path, shard: tuple[int, int]) -> bool:
    """Whether a file below a folder falls to a shard: by the hash of its path in the folder, the same on every machine."""
    index, number = shard
    return int(files.sha256_json(path.relative_to(folder).as_posix())[:12], 16) % number == index


def _must_be_read(known: Known, path: Path, colour: dict[str, Any], *, retry: bool) -> bool:
    """Whether a file is new or due, or its original is not there any more."""
    record = known.footage.get(known.workspace.relative(path))
    if record is None or known.why_again(record, colour):
        return True
    if record.status == "usable" or not record.reason.startswith(COPY):
        return retry and record.status == "quarantined"
    originals = (one for one in known.footage.values() if one.footage_id == record.footage_id)
    return not any(_still_holds(known.workspace, one) for one in originals)


def _still_holds(workspace: Workspace, record: Footage) -> bool:
    """Whether a usable record speaks of content that is still at its path, or of a file that is merely out of reach."""
    if record.status != "usable":
        return False
    path = workspace.absolute(record.path)
    return is_unchanged(record, path) if path.is_file() else not path.parent.is_dir()


def _work_through(
    catalog: Catalog, known: Known, rows: list[ShotRow], new: dict[str, _New], num_workers: int, run: workers.Run
) -> None:
    from data_tools.intake import take_in  # imports decoders, which a second run does not need

    workspace = known.workspace
    taken = {record.footage_id: record for record in known.footage.values() if record.status == "usable"}
    whole = [record for record in taken.values() if not known.lack(record)]
    tasks = [_task(workspace, key, file, whole) for key, file in new.items()]
    noted: dict[str, dict[str, ShotRow]] = {}  # footage id -> its shots by id
    for row in rows:
        noted.setdefault(row.shot.footage_id, {})[row.shot.shot_id] = row
    with tqdm(total=len(tasks), desc="ingest", bar_format=_BAR) as bar:

        def progress(done: float) -> None:
            bar.update(done - bar.n)

        for outcome in run(take_in, tasks, num_workers, progress):
            record = _judge(workspace, new[outcome.key], taken, outcome)
            if record.status == "usable":
                taken[record.footage_id] = record
                found = [_shot(workspace, record.footage_id, fields) for fields in (outcome.value or {}).get("shots", [])]
                _put_shots(workspace, catalog, noted.setdefault(record.footage_id, {}), found)
            catalog.put_footage([record])
            progress(bar.n)


def _order_copies(workspace: Workspace, catalog: Catalog) -> None:
    """Of equal files that are there the first by path is the original, whichever was read first."""
    equal: dict[str, list[Footage]] = {}
    for record in catalog.footage():
        if (record.status == "usable" or record.reason.startswith(COPY)) and is_unchanged(record, workspace.absolute(record.path)):
            equal.setdefault(record.footage_id, []).append(record)
    for records in equal.values():
        first, original = min(records, key=lambda one: one.path), next((one for one in records if one.status == "usable"), None)
        if original is None or first is original or first.colour_stated != original.colour_stated:
            continue
        copies = [
            Footage(**_identity(one), status="quarantined", reason=f"{COPY}{first.path}") for one in records if one is not first
        ]
        catalog.put_footage([original.model_copy(update=_identity(first)), *copies])


def _identity(record: Footage) -> dict[str, Any]:
    """What every record has, usable or not."""
    return {key: getattr(record, key) for key in _IDENTITY}


def _task(workspace: Workspace, key: str, new: _New, whole: list[Footage]) -> workers.Task:
    done = sorted(record.footage_id for record in whole if record.colour_stated == key_of(new.colour))
    arguments = {
        "path": str(new.path), "shots": str(workspace.shots), "cubes": str(workspace.catalog / "cubes"), "colour": new.colour,
        "taken": done,
    }  # fmt: skip
    return workers.Task(key, arguments, silence_s=120 + new.stamp[0] / _HASHING_BYTES_PER_S)


def _judge(workspace: Workspace, new: _New, taken: dict[str, Footage], outcome: workers.Outcome) -> Footage:
    value = outcome.value or {}
    sha256, reason = value.get("sha256", ""), outcome.failure or value.get("refusal")
    footage_id = (sha256 or files.sha256_json([outcome.key, *new.stamp]))[:16]  # not every file can be read through
    identity: dict[str, Any] = {
        "footage_id": footage_id, "sha256": sha256, "path": outcome.key, "size_bytes": new.stamp[0], "mtime_ns": new.stamp[1],
        "colour_stated": key_of(new.colour), "rights": new.rights,
    }  # fmt: skip
    if reason is not None:
        return Footage(**identity, status="quarantined", reason=reason)
    first = taken.get(sha256[:16])
    if first is not None and first.path != outcome.key and _still_holds(workspace, first):
        return Footage(**identity, status="quarantined", reason=f"{COPY}{first.path}")
    if first is None or "facts" in value:
        return Footage(**identity, status="usable", **value["facts"])
    return first.model_copy(update=identity)  # touched or moved, nothing else


def _put_shots(workspace: Workspace, catalog: Catalog, noted: dict[str, ShotRow], found: list[Shot]) -> None:
    """Notes the shots of one content; `noted`, those noted of it so far by id, is kept in step.

    What people said of a shot is carried over to the one of the same span: in other colours it has another id. A shot whose clip
    was made anew keeps all that is known of it.
    """
    if not found:
        return
    ids = {shot.shot_id for shot in found}
    before = {(row.shot.start_pts, row.shot.end_pts): shot_id for shot_id, row in noted.items() if shot_id not in ids}
    after = {(shot.start_pts, shot.end_pts): shot.shot_id for shot in found}
    carry_over(workspace, {old: after[span] for span, old in before.items() if span in after}, datetime.now(UTC))
    now = {shot.shot_id: _renewed(noted.get(shot.shot_id), shot) for shot in found}
    catalog.put_shots([row for shot_id, row in now.items() if noted.get(shot_id) is not row])
    _drop_shots(workspace, catalog, [row.shot for shot_id, row in noted.items() if shot_id not in ids])
    noted.clear()
    noted.update(now)


def _renewed(row: ShotRow | None, shot: Shot) -> ShotRow:
    """The row of a shot with what reading found; the row itself where it says that already."""
    if row is None:
        return ShotRow(shot)
    fresh = row.shot.model_copy(update={name: getattr(shot, name) for name in shot.model_fields_set})
    return row if fresh == row.shot else replace(row, shot=fresh)


def _shot(workspace: Workspace, footage_id: str, fields: dict[str, Any]) -> Shot:
    return Shot(footage_id=footage_id, **{**fields, "path": workspace.relative(Path(fields["path"]))})


def _drop_orphans(workspace: Workspace, catalog: Catalog) -> None:
    """Forgets shots whose footage was replaced by other content, and paths that moved."""
    records = catalog.footage()
    usable = [record for record in records if record.status == "usable"]
    here = {record.footage_id for record in usable if workspace.absolute(record.path).is_file()}
    catalog.drop_footage([r.path for r in usable if r.footage_id in here and not workspace.absolute(r.path).is_file()])
    ids = {record.footage_id for record in usable}
    _drop_shots(workspace, catalog, [row.shot for row in catalog.shots() if row.shot.footage_id not in ids])


def _drop_shots(workspace: Workspace, catalog: Catalog, shots: list[Shot]) -> None:
    catalog.drop_shots([shot.shot_id for shot in shots])
    for shot in shots:
        workspace.absolute(shot.path).unlink(missing_ok=True)
