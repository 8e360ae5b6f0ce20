"""Tagging a library: asks every source about every shot, does only what is stale, and lets `fusion` decide.

A shot is measured once per content of its clip and looked at once per vision model; the camera reports, and what people have
corrected, are read each time.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_tools import fusion, probe, workers, zero_shot
from data_tools.camera_report import Reports, read_reports
from data_tools.catalog import Catalog, ShotRow
from data_tools.colour import SUSPECTED
from data_tools.corrections import CONTENT, Said, read_corrections, said_by_people
from data_tools.scenes import group_scenes
from lora_studio import files
from lora_studio.errors import FootageError, ModelError
from lora_studio.records import Shot, Tag
from lora_studio.taxonomy import AXES, AXES_V1, NA, UNKNOWN, Phrases, parts
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

MEASURED_VERSION = 7  # of `measure`: part of every content key
LOOKED_AT = (0.1, 0.3, 0.5, 0.7, 0.9)  # where in a shot single frames are looked at

LoadVision = Callable[[Path], zero_shot.ImageTextModel]


@dataclass(frozen=True)
class Tagging:
    """What one run did."""

    num_shots: int
    num_measured: int
    num_looked_at: int
    num_changed: int
    learned: dict[str, probe.Learned]  # axis -> what came of learning it, where enough was stated
    num_failed: int = 0  # shots that could not be measured; the next run tries them again


def tag_shots(
    workspace: Workspace,
    vision_folder: Path | None = None,
    load: LoadVision | None = None,
    num_workers: int | None = None,
    run: workers.Run = workers.run_supervised,
) -> Tagging:
    """Tags every shot of a workspace.

    Args:
        workspace: one with footage taken in.
        vision_folder: an open_clip model; `nano` is the shipped one, which knows only the virtual stage. None: that one
            makes the vectors that likeness and corrections go by, and is not asked for tags.
        load: makes a model of a folder; None is `lora_studio.vision.load_vision`.
        num_workers: shots measured at once; None is as many as this machine has cores for.
        run: what measures them: `workers.run_supervised` or `on_ray.run_on_ray`.

    Raises:
        FootageError: there is no shot yet, or a camera report is wrong.
        WorkspaceError: the book of corrections is damaged.
        ModelError: `vision_folder` holds no model.
    """
    catalog = Catalog(workspace)
    rows = catalog.shots()
    if not rows:
        raise FootageError(f"no shots in {workspace.root}: take footage in first with `data-tools ingest {workspace.root} FOLDER`")
    said_by_people(read_corrections(workspace))  # a damaged book is told before the long work
    read_reports(workspace, catalog.footage())
    stale = [row for row in rows if not is_measured(row)]
    folder, asked = usable_vision_folder(vision_folder), vision_folder is not None
    model_key = vision_key(folder) if folder else ""
    library = _library_key(rows, model_key, asked=asked)
    is_looked_at = all(row.keys.get("scored") == library for row in rows)
    with ThreadPoolExecutor(1, "vision") as loader:  # torch and a large model take seconds, in which children can measure
        loading = loader.submit(load or _load_vision, folder) if folder and not is_looked_at else None
        num_failed = _measure(workspace, catalog, stale, num_workers or workers.num_workers(), run)
    if folder is None:
        catalog.put_shots([replace(row, shot=_with_scores(row.shot, "clip", {})) for row in catalog.shots()])
    taught = AXES_V1 if folder == _shipped_folder() else AXES
    words = taught if asked else None
    num_looked_at = _look(workspace, catalog, loading.result(), model_key, library, words) if loading is not None else 0
    _part_into_scenes(catalog)
    rows, learned = _learn(with_statements(workspace, catalog, catalog.shots()))
    num_changed = catalog.put_shots(with_statements(workspace, catalog, rows))
    catalog.compact()
    catalog.index()
    return Tagging(len(rows), len(stale) - num_failed, num_looked_at, num_changed, learned, num_failed)


def with_statements(workspace: Workspace, catalog: Catalog, rows: list[ShotRow]) -> list[ShotRow]:
    """The rows with what reports and people say of them now, and all sources fused anew.

    Raises:
        FootageError: a camera report is wrong.
        WorkspaceError: the book of corrections is damaged.
    """
    footage = catalog.footage()
    reports, said = read_reports(workspace, footage), said_by_people(read_corrections(workspace))
    unread = {record.footage_id for record in footage if record.colour == SUSPECTED}
    return [_fused(row, reports, said, row.shot.footage_id in unread) for row in rows]


def _part_into_scenes(catalog: Catalog) -> None:
    rows, paths = catalog.shots(), {record.footage_id: record.path for record in catalog.footage()}
    filmed = sorted((row.shot for row in rows), key=lambda shot: (paths.get(shot.footage_id, ""), shot.start_pts))
    scenes = group_scenes(filmed, {row.shot.shot_id: row.vector for row in rows if row.vector is not None})
    catalog.put_shots([replace(row, shot=row.shot.model_copy(update={"scene": scenes[row.shot.shot_id]})) for row in rows])


def is_measured(row: ShotRow) -> bool:
    """Whether a shot's measurements belong to the clip it has now."""
    return row.keys.get("measured") == _measured_key(row.shot)


def _measured_key(shot: Shot) -> str:
    return files.sha256_json([shot.sha256, MEASURED_VERSION])[:16]


def _measure(workspace: Workspace, catalog: Catalog, stale: list[ShotRow], num_workers: int, run: workers.Run) -> int:
    """Returns how many could not be measured."""
    if not stale:
        return 0
    from data_tools.measure import measure_shot  # imports decoders, which a second run does not need

    by_id = {row.shot.shot_id: row for row in stale}
    tasks, num_failed = [_measure_task(workspace, row.shot) for row in stale], 0
    with tqdm(total=len(tasks), desc="measure", unit="shot") as bar:
        for outcome in run(measure_shot, tasks, num_workers, None):
            bar.update()
            if outcome.failure is not None:
                logger.warning("shot %s could not be measured: %s", outcome.key, outcome.failure)
                num_failed += 1
                continue
            row, found = by_id[outcome.key], outcome.value
            shot = row.shot.model_copy(update={"measures": found["measures"], "flags": found["flags"]})
            shot = shot.model_copy(update={"hashes": tuple(found["hashes"])})
            shot = _with_scores(shot, "measured", found["scores"])
            catalog.put_shots([replace(row, shot=shot, keys={**row.keys, "measured": _measured_key(shot)})])
    return num_failed


def _measure_task(workspace: Workspace, shot: Shot) -> workers.Task:
    arguments = {
        "path": str(workspace.absolute(shot.path)), "duration_s": shot.num_frames / shot.fps, "places": LOOKED_AT,
        "short_side": min(shot.height, shot.width),
    }  # fmt: skip
    return workers.Task(shot.shot_id, arguments)


def usable_vision_folder(folder: Path | None) -> Path | None:
    """The given folder; the shipped model's for `nano` and where none is given; None where that is not there.

    Raises:
        ModelError: the given one is no folder, or none with a model.
    """
    shipped = _shipped_folder()
    if folder is None or (folder == Path("nano") and not folder.is_dir()):
        if shipped.is_dir():
            return shipped
        logger.warning("no vision model in %s: tags come from measurement and camera reports only", shipped)
        return None
    if not folder.is_dir():
        raise ModelError(f"--vision {folder}: no such folder; give a folder with an open_clip model")
    if not any(folder.glob("open_clip_*")):
        raise ModelError(f"--vision {folder}: no open_clip model in it (open_clip_config.json, open_clip_model.safetensors)")
    return folder


def _shipped_folder() -> Path:
    return Path(str(resources.files("lora_studio"))) / "assets" / "nova_nano" / "open_clip"  # find_model would import torch


def vision_key(folder: Path) -> str:
    """A content key of a model folder that needs no torch to compute."""
    return files.sha256_json([[path.name, files.sha256_file(path)] for path in sorted(folder.glob("open_clip_*"))])[:16]


def _library_key(rows: list[ShotRow], model_key: str, *, asked: bool) -> str:
    """What the answers of an image-text model hang on: it, what it is asked, and all shots, for it compares them."""
    return files.sha256_json([model_key, asked, zero_shot.prompts_sha256(), sorted(row.shot.sha256 for row in rows)])[:16]


def _look(
    workspace: Workspace, catalog: Catalog, model: zero_shot.ImageTextModel, model_key: str, library: str, words: Phrases | None
) -> int:
    rows = catalog.shots()
    if not model.knows_colours:
        logger.warning("the vision model does not know red from blue: it was never trained, and its answers are left out")
    rows, num_looked_at = _embed(workspace, catalog, rows, model, model_key)
    vectors = np.stack([row.vector for row in rows if row.vector is not None])
    scores = zero_shot.score_shots(model, vectors, words) if words is not None else [{} for _ in vectors]
    scored = [
        replace(row, shot=_with_scores(row.shot, "clip", found), keys={**row.keys, "scored": library})
        for row, found in zip(rows, scores, strict=True)
    ]
    catalog.put_shots(scored)
    return num_looked_at


def _load_vision(folder: Path) -> zero_shot.ImageTextModel:
    from lora_studio.vision import load_vision  # imports torch

    return load_vision(folder)


def _embed(
    workspace: Workspace, catalog: Catalog, rows: list[ShotRow], model: zero_shot.ImageTextModel, model_key: str
) -> tuple[list[ShotRow], int]:
    from lora_studio.video import read_frames

    embedded, num_new = [], 0
    for row in tqdm(rows, desc="look", unit="shot", disable=len(rows) < 2):
        key = files.sha256_json([row.shot.sha256, model_key])[:16]
        if row.keys.get("embedded") != key or row.vector is None:
            last = (row.shot.num_frames - 1) / row.shot.fps
            frames = read_frames(workspace.absolute(row.shot.path), [place * last for place in LOOKED_AT])
            row = replace(row, vector=zero_shot.embed_shot(model, frames), keys={**row.keys, "embedded": key})
            catalog.put_shots([row])
            num_new += 1
        embedded.append(row)
    return embedded, num_new


def _learn(rows: list[ShotRow]) -> tuple[list[ShotRow], dict[str, probe.Learned]]:
    """The rows with what the probes say, and how well each was learned from what people and reports state."""
    seen = [row for row in rows if row.vector is not None]
    learned = {}
    for axis in zero_shot.SEEN_AXES:
        found = probe.learn([_example(row, axis) for row in seen])
        if found is not None:
            learned[axis] = found
    scores: dict[str, dict[str, dict[str, float]]] = {row.shot.shot_id: {} for row in rows}
    for axis, found in learned.items():
        for row, said in zip(seen, found.scores, strict=True):
            scores[row.shot.shot_id][axis] = said
    return [replace(row, shot=_with_scores(row.shot, "probe", scores[row.shot.shot_id])) for row in rows], learned


def _example(row: ShotRow, axis: str) -> probe.Example:
    assert row.vector is not None
    said = row.shot.tags[axis].scores
    stated = next((max(said[source]) for source in fusion.STATED if said.get(source)), None)
    looked = said.get("clip")
    best = max(looked, key=lambda value: looked[value]) if looked else None
    told = None if stated in (None, UNKNOWN, NA) else parts(stated)[0]
    return probe.Example(row.vector, row.shot.scene or row.shot.shot_id, told, best)


def _with_scores(shot: Shot, source: fusion.Source, found: dict[str, dict[str, float]]) -> Shot:
    tags = {}
    for axis in AXES:
        scores = {**(shot.tags[axis].scores if axis in shot.tags else {}), source: found.get(axis, {})}
        tags[axis] = fusion.fuse(scores)
    return shot.model_copy(update={"tags": tags})


def _fused(row: ShotRow, reports: Reports, said: Said, is_unread: bool) -> ShotRow:
    """The row with what report and people say; light that was only looked at counts for nothing where the colours are not known."""
    shot = row.shot
    if shot.footage_id not in reports.offline:
        report = reports.of(shot)
        words = report.words if report is not None else {}
        shot = _with_scores(shot, "metadata", {axis: fusion.stated("metadata", word) for axis, word in words.items()})
        shot = shot.model_copy(update={"reported_content": report.content if report is not None else ""})
    human = said.get(shot.shot_id, {})
    shot = _with_scores(shot, "human", {axis: fusion.stated("human", word) for axis, word in human.items() if axis != CONTENT})
    shot = shot.model_copy(update={"content": human.get(CONTENT) or shot.reported_content or shot.described_content})
    if is_unread:
        tags = {axis: _stated_alone(tag) if axis.startswith("light.") else tag for axis, tag in shot.tags.items()}
        shot = shot.model_copy(update={"tags": tags})
    return replace(row, shot=shot)


def _stated_alone(tag: Tag) -> Tag:
    """The tag by what people state alone; all scores are kept for the day when the others count again."""
    fused = fusion.fuse({source: tag.scores.get(source, {}) for source in fusion.STATED})
    return fused.model_copy(update={"scores": tag.scores})


def count_statuses(rows: list[ShotRow]) -> dict[str, dict[str, int]]:
    """For each axis, how many shots have each status."""
    counts: dict[str, dict[str, int]] = {axis: {} for axis in AXES}
    for row in rows:
        for axis in AXES:
            status = row.shot.tags.get(axis, Tag()).status
            counts[axis][status] = counts[axis].get(status, 0) + 1
    return counts
