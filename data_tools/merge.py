"""Bringing together what several machines have taken in: the catalogs and normalised shots of shards, in one workspace.

    data-tools ingest shard0 /mnt/masters --shard 0/4      # on each machine its own
    data-tools tag shard0
    data-tools merge acme shard0 shard1 shard2 shard3
    data-tools tag acme                                    # measures nothing again; compares shots over the whole library

Masters are referenced, so each machine and the one that merges must see them under paths that lead to the same files. What is in
the workspace already stays; a second merge does nothing.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from data_tools.beside import remember_folder, taken_in_folders
from data_tools.catalog import Catalog, ShotRow
from data_tools.corrections import FILE as CORRECTIONS
from data_tools.ingest import COPY
from data_tools.rights import RightsFinder
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.records import Footage
from lora_studio.workspace import Workspace


@dataclass(frozen=True)
class Merged:
    """What a merge came to: rows that changed, and how many there are now."""

    num_changed: int
    num_files: int
    num_shots: int


def merge_workspaces(target: Workspace, sources: Sequence[Workspace]) -> Merged:
    """Takes over footage and shots of other workspaces; of equal files the first by path counts, the others are its copies.

    Raises:
        FootageError: a source is the target, or holds corrections, which belong into the merged workspace.
        RightsError: a rights.toml beside the footage is wrong.
    """
    for source in sources:
        if source.root == target.root:
            raise FootageError(f"{source.root} cannot be merged into itself: name the workspaces of the shards")
        if (source.root / CORRECTIONS).is_file():
            raise FootageError(f"{source.root / CORRECTIONS}: a shard with corrections is not merged; correct after merging")
    catalog = Catalog(target)
    records, rows = {record.path: record for record in catalog.footage()}, {row.shot.shot_id: row for row in catalog.shots()}
    for source in sources:
        for folder in taken_in_folders(source):
            remember_folder(target, folder)
        for record in Catalog(source).footage():
            path = target.relative(source.absolute(record.path))
            records.setdefault(path, record.model_copy(update={"path": path, "reason": _moved(record, source, target)}))
        for row in tqdm(Catalog(source).shots(), desc=f"merge {source.root.name}", unit="shot", disable=None):
            if row.shot.shot_id not in rows:
                rows[row.shot.shot_id] = _taken_over(row, source, target)
    finder = RightsFinder(target)
    judged = [finder.refresh(record) for record in _without_copies(list(records.values()))]
    changed = catalog.put_shots(list(rows.values())) + catalog.put_footage(judged)  # in this order: no file without its shots
    catalog.compact()
    catalog.index()
    return Merged(changed, len(judged), len(rows))


def _moved(record: Footage, source: Workspace, target: Workspace) -> str:
    if not record.reason.startswith(COPY):
        return record.reason
    return COPY + target.relative(source.absolute(record.reason.removeprefix(COPY)))


def _taken_over(row: ShotRow, source: Workspace, target: Workspace) -> ShotRow:
    """The row with its clip in the target's own folder: a copied workspace goes on working without the shards."""
    here, there = source.absolute(row.shot.path), target.shots / f"{row.shot.shot_id}.mp4"
    if not there.is_file():
        if not here.is_file():
            raise FootageError(f"{here} is missing: run `data-tools ingest` on {source.root} again, then merge")
        with files.atomic_path(there) as temporary:
            shutil.copyfile(here, temporary)
    return replace(row, shot=row.shot.model_copy(update={"path": target.relative(there)}))


def _without_copies(records: list[Footage]) -> list[Footage]:
    first: dict[str, str] = {}
    judged = []
    for record in sorted(records, key=lambda record: record.path):
        original = first.setdefault(record.footage_id, record.path) if record.status == "usable" else record.path
        is_copy = original != record.path
        judged.append(record.model_copy(update={"status": "quarantined", "reason": COPY + original}) if is_copy else record)
    return judged
