"""Makes the takes of a workspace: every prompt and seed with the bare base and with each finished run's adapter.

Knows where takes lie and in which order they are made; how a video is sampled is the sampler's business. A take is done
when its sidecar lies beside a video of the hash it names, and a done take is never made again.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import ValidationError
from torch import Tensor
from tqdm import tqdm

from lora_studio import files
from lora_studio.adapters.attach import bare_transformer
from lora_studio.adapters.storage import load_adapter
from lora_studio.errors import FootageError, TrainingError
from lora_studio.generation.plan import Base, PlannedTake, plan_takes
from lora_studio.generation.sampler import generate
from lora_studio.generation.settings import SamplerSettings
from lora_studio.generation.sheet import open_sheet, real_clips
from lora_studio.nova import weights
from lora_studio.nova.vae import pixel_dtype
from lora_studio.records import Take
from lora_studio.runs import Run, finished_runs
from lora_studio.video import FITS, read_frames, resize_crop, sample_times, write_video
from lora_studio.wall import current_takes, dataset_clips, read_manifest, save_plan
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)


def make_takes(
    workspace: Workspace, settings: SamplerSettings, seeds: Sequence[int] | None = None, image: Path | None = None
) -> list[Take]:
    """Makes the takes that are missing, and the default prompt sheet if there is none.

    Args:
        workspace: with a dataset and at least one finished run.
        settings: of the sampler; the same for every look.
        seeds: instead of the sheet's; the same for every look.
        image: a picture every take begins with (image to video); None is text to video.

    Returns:
        Every current take, in the order of the wall.

    Raises:
        TrainingError: no run is finished.
        WorkspaceError: there is no dataset.
        AdapterError: an adapter is missing, changed, or of another backbone.
        ModelError: the dataset's model is missing or damaged.
        FootageError: the image cannot be read.
    """
    manifest, runs = read_manifest(workspace), finished_runs(workspace)
    if not runs:
        raise TrainingError(
            f"no run in {workspace.runs} is finished: train one with "
            f"`accelerate launch train.py recipes/nano_look.toml --workspace {workspace.root}`"
        )
    _remove_leftovers(workspace)
    sheet, folder = open_sheet(workspace), weights.find_model(manifest["model"])
    base = Base(manifest["model"], weights.model_sha256(folder), weights.clip_shape(folder))
    real = real_clips(sheet.prompts, dataset_clips(workspace, "held_out"))
    first_frame = read_image(image, base) if image is not None else None
    job = _Job(workspace, base, folder, settings, first_frame)
    planned = plan_takes(base, sheet.prompts, tuple(seeds or sheet.seeds), runs, real, job.stored_settings)
    save_plan(workspace, [plan.take_id for plan in planned])
    missing = [plan for plan in planned if not _is_made(workspace, plan)]
    if missing:
        _make(job, missing)
    return current_takes(workspace)


@dataclass(frozen=True)
class _Job:
    """What all takes of one call share. `first_frame` is (1, 1, H, W, 3) uint8, or None."""

    workspace: Workspace
    base: Base
    folder: Path
    settings: SamplerSettings
    first_frame: np.ndarray | None

    @property
    def stored_settings(self) -> dict[str, Any]:
        """The settings as they are hashed and written to sidecars."""
        stored = self.settings.model_dump(mode="json", exclude_none=True)
        if self.first_frame is not None:
            stored["first_frame_sha256"] = hashlib.sha256(self.first_frame.tobytes()).hexdigest()
        return stored


def read_image(path: Path, base: Base) -> np.ndarray:
    """A picture at the base model's size, (1, 1, H, W, 3) uint8.

    Raises:
        FootageError: there is no such file, or it is no picture.
    """
    if not path.is_file():
        raise FootageError(f"{path}: no such file; give a PNG or JPEG picture")
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError:
        raise FootageError(f"{path}: not a picture that can be read; give a PNG or JPEG picture") from None
    return resize_crop(np.asarray(upright)[None], base.shape.height, base.shape.width)[None]  # (1, 1, H, W, 3)


def _remove_leftovers(workspace: Workspace) -> None:
    """Deletes the half-written files of a killed run."""
    for path in (*workspace.takes.glob(".*.tmp.*"), *workspace.root.glob(".prompts.*.tmp.toml")):
        path.unlink()


def _is_made(workspace: Workspace, plan: PlannedTake) -> bool:
    video = workspace.takes / f"{plan.take_id}.mp4"
    sidecar = video.with_suffix(".json")
    if not (video.is_file() and sidecar.is_file()):
        return False
    try:
        take = Take.model_validate_json(sidecar.read_bytes())
    except ValidationError:
        logger.warning("%s is damaged: the take is made again", sidecar.name)
        return False
    return files.sha256_file(video) == take.video_sha256


def _make(job: _Job, missing: Sequence[PlannedTake]) -> None:
    """Real footage first, then the base, then one adapter after the other, so that each is put on once."""
    generated = [plan for plan in missing if plan.kind != "real"]
    with tqdm(total=len(missing), desc="takes", unit="take") as bar:
        for plan in missing:
            if plan.kind == "real":
                started = time.perf_counter()
                _save(job, plan, _real_frames(job, plan), {}, started)
                bar.update()
        if not generated:
            return
        studio = open_studio(job.folder, [plan.prompt.text for plan in generated])
        for run in dict.fromkeys(plan.run for plan in sorted(generated, key=lambda plan: plan.run is not None)):
            with wearing(studio.transformer, run) as transformer:
                for plan in (plan for plan in generated if plan.run == run):
                    started = time.perf_counter()
                    frames = _sample(job, studio, transformer, plan)
                    _save(job, plan, frames, job.stored_settings, started)
                    bar.update()


@dataclass(frozen=True)
class Studio:
    """The loaded parts of the base model, and the features of every prompt."""

    transformer: Any
    vae: Any
    scheduler: Any
    text: dict[str, Tensor]


def open_studio(folder: Path, prompts: Sequence[str]) -> Studio:
    """Loads a base model, reading the prompts first: the text encoder is dropped before the backbone comes in."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    texts = list(dict.fromkeys(prompts))
    encoder = weights.load_text(folder, device, dtype)
    for text in texts:
        if lost := encoder.cut_off(text):
            logger.warning("the model reads the first %d tokens of a prompt; it never sees: %s", encoder.max_rows, lost)
    features = dict(zip(texts, encoder.encode(texts), strict=True))
    del encoder  # the text encoder is larger than the model; it is not needed again
    return Studio(
        transformer=weights.load_transformer(folder, device, dtype),
        vae=weights.load_vae(folder, device, pixel_dtype(dtype)),
        scheduler=weights.load_scheduler(folder),
        text=features,
    )


@contextmanager
def wearing(transformer: Any, run: Run | None) -> Iterator[Any]:
    """The transformer with a run's adapter on it; afterwards it is the bare base again."""
    if run is None:
        yield transformer
        return
    model = load_adapter(transformer, run.adapter)
    try:
        yield bare_transformer(model)
    finally:
        model.unload()  # pyright: ignore[reportCallIssue]


def _sample(job: _Job, studio: Studio, transformer: Any, plan: PlannedTake) -> np.ndarray:
    text = [studio.text[plan.prompt.text]]
    with tqdm(desc=plan.run.name if plan.run is not None else "base", unit="set", leave=False, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        frames = generate(
            transformer, studio.vae, studio.scheduler, text, job.settings, plan.seed, job.first_frame, progress=show
        )
    return frames[0]  # (F, H, W, 3)


def _real_frames(job: _Job, plan: PlannedTake) -> np.ndarray:
    assert plan.clip is not None
    shape = job.base.shape
    times = sample_times(plan.clip.start_s, shape.num_frames, shape.fps)
    fit = FITS[read_manifest(job.workspace).get("fit", "crop")]
    return fit(read_frames(job.workspace.shots / f"{plan.clip.shot_id}.mp4", times), shape.height, shape.width)


def _save(job: _Job, plan: PlannedTake, frames: np.ndarray, settings: dict[str, Any], started: float) -> None:
    """Writes the video, then the sidecar: a take without a sidecar does not count."""
    seconds, fps = time.perf_counter() - started, job.base.shape.fps
    video = job.workspace.takes / f"{plan.take_id}.mp4"
    write_video(video, frames, fps)
    take = Take(
        take_id=plan.take_id, kind=plan.kind, prompt_id=plan.prompt.id, prompt=plan.prompt.text, seed=plan.seed,
        adapter=plan.adapter, clip_id=plan.clip.clip_id if plan.clip is not None else None, model=job.base.label,
        settings=settings, num_frames=len(frames), fps=fps, width=frames.shape[2], height=frames.shape[1],
        seconds=round(seconds, 3), video_sha256=files.sha256_file(video),
    )  # fmt: skip
    files.write_json(video.with_suffix(".json"), take.model_dump(mode="json"))
