"""Clips and stills of one prompt, written where the person says: for trying things, not for the wall.

Knows the sampler and the looks of a workspace; keeps no record of what it made.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from torch import nn
from tqdm import tqdm

from lora_studio import files
from lora_studio.adapters.side_by_side import wear_side_by_side
from lora_studio.errors import FootageError, MediaError, TrainingError
from lora_studio.generation.plan import Base, check_adapter
from lora_studio.generation.sampler import stream
from lora_studio.generation.settings import SamplerSettings
from lora_studio.generation.takes import Studio, open_studio, read_image
from lora_studio.nova import weights
from lora_studio.runs import finished_runs
from lora_studio.video import probe, read_frames, resize_crop, sample_times, write_video
from lora_studio.wall import read_manifest
from lora_studio.workspace import Workspace

BASE: Final = "base"


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        prompt: what to show; write the trigger into it for a trained look.
        to: the file to write: .mp4 for a clip, .png for a still. With several looks the name of each is put before the suffix.
        looks: `base`, or names of finished runs; all are made in one pass, side by side.
        seed: same seed, same bytes.
        strength: of the adapters: 1 as trained, 0 none.
        negative: what to steer away from.
        num_frames: pixel frames, 4k + 1; None: as many as the base model's clips have.
        image: a picture the clip begins with.
        video: a clip to go on from; the result begins with it.
        keyframes: pixel frame -> picture to be shown there.
    """

    prompt: str
    to: Path
    looks: tuple[str, ...] = (BASE,)
    seed: int = 0
    strength: float = 1.0
    negative: str | None = None
    num_frames: int | None = None
    image: Path | None = None
    video: Path | None = None
    keyframes: Mapping[int, Path] = field(default_factory=dict)

    @property
    def is_still(self) -> bool:
        """Whether a picture is wanted."""
        return self.to.suffix.lower() == ".png"


def make_order(workspace: Workspace, order: Order, settings: SamplerSettings) -> list[Path]:
    """Makes the clips or stills of an order; existing files are replaced.

    Args:
        workspace: with a dataset: it names the base model.
        order: what is to be made.
        settings: of the sampler.

    Returns:
        The files written, one per look.

    Raises:
        MediaError: the suffix or the number of frames cannot be, or a still is asked to begin with something.
        TrainingError: there is no such finished run.
        FootageError: a picture or the clip to go on from cannot be read, or is too short.
    """
    _check(order)
    name = read_manifest(workspace)["model"]
    folder = weights.find_model(name)
    base = Base(name, weights.model_sha256(folder), weights.clip_shape(folder))
    adapters = [_adapter(workspace, look, base) for look in order.looks]
    begin = _beginning(order, base, len(adapters))
    keys = {at: _rows(read_image(path, base)[:, 0], len(adapters)) for at, path in _keys(order, base).items()}
    if begin is not None and (inside := [at for at in keys if at <= (begin.shape[1] - 1) // 4]):
        raise MediaError(f"a key frame falls on latent frame {inside[0]}, but the clip begins with the frames given: put it later")
    num_latents = 1 if order.is_still else (order.num_frames or base.shape.num_frames) // 4 + 1
    studio = open_studio(folder, [text for text in (order.prompt, order.negative) if text is not None])
    with wear_side_by_side(studio.transformer, adapters, order.strength) as transformer:
        clips = _sample(studio, transformer, order, settings, begin, keys, num_latents)
        return _write(order, clips, base.shape.fps)


def _check(order: Order) -> None:
    if order.to.suffix.lower() not in (".mp4", ".png"):
        raise MediaError(f"--to must end in .mp4 (video) or .png (still), got {order.to}")
    if order.is_still and (order.image or order.video or order.keyframes or order.num_frames):
        raise MediaError(
            f"--from-image, --from-video, --key and --frames are for clips, and {order.to} is a still: end --to in .mp4"
        )
    if order.image and order.video:
        raise MediaError("--from-image and --from-video both say how the clip begins: give one of them")
    if order.num_frames is not None and (order.num_frames % 4 != 1 or order.num_frames < 1):
        near = max((order.num_frames - 1) // 4 * 4 + 1, 1)
        raise MediaError(f"--frames must be 1, 5, 9, 13, ... (4k + 1), got {order.num_frames}: {near} or {near + 4} would do")
    if len(set(order.looks)) < len(order.looks):
        raise MediaError(f"--look names a look twice: {', '.join(order.looks)}")


def _adapter(workspace: Workspace, look: str, base: Base) -> Path | None:
    if look == BASE:
        return None
    runs = {run.name: run for run in finished_runs(workspace)}
    if look not in runs:
        raise TrainingError(f"--look must be {BASE} or a finished run ({', '.join(runs) or 'there is none yet'}), got {look}")
    check_adapter(runs[look], base)
    return runs[look].adapter


def _keys(order: Order, base: Base) -> dict[int, Path]:
    """Latent frame -> picture; a latent frame after the first stands for four pixel frames."""
    keys: dict[int, Path] = {}
    last = (order.num_frames or base.shape.num_frames) - 1
    for at, path in order.keyframes.items():
        if at > last:
            raise MediaError(f"--key {at}: the clip has frames 0 to {last}; ask for a longer one with --frames")
        if (latent := math.ceil(at / 4)) in keys:
            raise MediaError(
                f"--key {at} and another fall on the same four frames ({4 * latent - 3} to {4 * latent}): keep one of them"
            )
        keys[latent] = path
    return keys


def _rows(values: np.ndarray, count: int) -> np.ndarray:
    return np.repeat(values, count, axis=0)


def _beginning(order: Order, base: Base, count: int) -> np.ndarray | None:
    """How every clip begins, (B, F, H, W, 3), or None."""
    if order.image is not None:
        return _rows(read_image(order.image, base), count)
    if order.video is None:
        return None
    if not order.video.is_file():
        raise FootageError(f"{order.video}: no such file; give a clip to go on from")
    shape, wanted = base.shape, order.num_frames or base.shape.num_frames
    available = int(probe(order.video).duration_s * shape.fps)
    kept = (available - 1) // 4 * 4 + 1
    if available < 1 or kept >= wanted:
        raise FootageError(
            f"{order.video} has {available} frames at {shape.fps:g} per second and the result shall have {wanted}, those "
            f"included: give --frames {kept + 4} or more"
        )
    first = (available - kept) / shape.fps  # what does not fill four frames is left out at the beginning: the end goes on
    frames = read_frames(order.video, sample_times(first, kept, shape.fps))
    return _rows(resize_crop(frames, shape.height, shape.width)[None], count)


def _sample(
    studio: Studio,
    transformer: nn.Module,
    order: Order,
    settings: SamplerSettings,
    begin: np.ndarray | None,
    keys: dict[int, np.ndarray],
    num_latents: int,
) -> Iterator[np.ndarray]:
    """Frames of all looks as they are decoded, (B, F_i, H, W, 3)."""
    count = len(order.looks)
    negative = [studio.text[order.negative]] * count if order.negative else None
    with tqdm(desc=", ".join(order.looks), unit="set", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        model: Any = transformer
        yield from stream(
            model, studio.vae, studio.scheduler, [studio.text[order.prompt]] * count, settings, order.seed, begin, negative,
            progress=show, num_latents=num_latents, keyframes=keys,
        )  # fmt: skip


def _write(order: Order, chunks: Iterator[np.ndarray], fps: float) -> list[Path]:
    if len(order.looks) == 1 and not order.is_still:  # a clip of any length goes to disk as it comes
        write_video(order.to, (frame for chunk in chunks for frame in chunk[0]), fps)
        return [order.to]
    clips, paths = np.concatenate(list(chunks), axis=1), _paths(order)
    for path, frames in zip(paths, clips, strict=True):
        if order.is_still:
            with files.atomic_path(path) as temporary:
                Image.fromarray(frames[0]).save(temporary, format="PNG")
        else:
            write_video(path, frames, fps)
    return paths


def _paths(order: Order) -> list[Path]:
    if len(order.looks) == 1:
        return [order.to]
    return [order.to.with_name(f"{order.to.stem}.{look}{order.to.suffix}") for look in order.looks]
