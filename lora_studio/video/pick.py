"""The frames shown at given times, by decord where it can, else by PyAV; and how they are fitted to a size."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np

from lora_studio.errors import MediaError
from lora_studio.video.probe import TICK_S
from lora_studio.video.walk import iterate_frames

logger = logging.getLogger(__name__)


def read_frames(path: Path, times_s: Sequence[float]) -> np.ndarray:
    """The frame shown at each time, by decord where it can, else by PyAV.

    Args:
        path: a clip written by `write_video` (decord is exact on those; walk foreign files with `iterate_frames`).
        times_s: seconds from the clip's first frame, in any order.

    Returns:
        (F, H, W, 3) uint8.

    Raises:
        MediaError: the file cannot be decoded, or a time lies outside it.
    """
    if len(times_s) == 0:
        raise MediaError(f"{path.name}: no times were asked for")
    if min(times_s) < 0:
        raise MediaError(f"{path.name}: times count from the first frame, got {min(times_s):g} s")
    try:
        return _read_decord(path, times_s)
    except ImportError:
        return _read_pyav(path, times_s)


def _read_decord(path: Path, times_s: Sequence[float]) -> np.ndarray:
    import decord  # opened where it is used: a reader must not cross threads or forks

    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        spans = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64)  # (frames, 2) start, end
        picked = _pick(spans[:, 0], float(spans[-1, 1]), times_s, path)
        frames = reader.get_batch(picked).asnumpy()
        reader.seek(0)  # else its thread goes on decoding ahead without limit
    except (decord.DECORDError, RuntimeError) as fault:
        logger.warning("%s: decord cannot read it (%s); PyAV does", path.name, str(fault).splitlines()[0][:120])
        return _read_pyav(path, times_s)
    return frames


def _read_pyav(path: Path, times_s: Sequence[float]) -> np.ndarray:
    last_wanted = max(times_s) + TICK_S
    starts, frames = [], []
    first_s: float | None = None
    for time_s, frame in iterate_frames(path):
        first_s = time_s if first_s is None else first_s
        if time_s - first_s > last_wanted:
            break
        starts.append(time_s - first_s)
        frames.append(frame)
    if not frames:
        raise MediaError(f"{path.name}: no frame can be decoded")
    step = starts[-1] - starts[-2] if len(starts) > 1 else max(times_s) + 1
    return np.stack([frames[i] for i in _pick(np.asarray(starts), starts[-1] + step, times_s, path)])


def _pick(starts: np.ndarray, end_s: float, times_s: Sequence[float], path: Path) -> list[int]:
    if max(times_s) > end_s + TICK_S:
        raise MediaError(f"{path.name}: it ends at {end_s:.3f} s, a frame at {max(times_s):.3f} s was asked for")
    picked = np.searchsorted(starts, np.asarray(times_s, dtype=np.float64) + TICK_S, side="right") - 1
    return np.clip(picked, 0, len(starts) - 1).tolist()


def resize_crop(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fits the frames over the wanted size, with antialiasing, and crops the middle.

    Args:
        frames: (F, H, W, 3) uint8.
        height: wanted height in pixels.
        width: wanted width in pixels.

    Returns:
        (F, height, width, 3) uint8.
    """
    old_height, old_width = frames.shape[1:3]
    scale = max(height / old_height, width / old_width)
    new_height, new_width = max(height, round(old_height * scale)), max(width, round(old_width * scale))
    top, left = (new_height - height) // 2, (new_width - width) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        resized[index] = cv2.resize(frame, (new_width, new_height), interpolation=method)[top : top + height, left : left + width]
    return resized


def resize_pad(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fits the frames into the wanted size, with antialiasing, before the mean colour of the first frame's border.

    Args:
        frames: (F, H, W, 3) uint8.
        height: wanted height in pixels.
        width: wanted width in pixels.

    Returns:
        (F, height, width, 3) uint8.
    """
    old_height, old_width = frames.shape[1:3]
    scale = min(height / old_height, width / old_width)
    new_height, new_width = min(height, max(1, round(old_height * scale))), min(width, max(1, round(old_width * scale)))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    border = np.concatenate([frames[0, 0], frames[0, -1], frames[0, :, 0], frames[0, :, -1]])
    padded = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    padded[:] = border.mean(axis=0).round().astype(np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    for index, frame in enumerate(frames):
        small = cv2.resize(frame, (new_width, new_height), interpolation=method)
        padded[index, top : top + new_height, left : left + new_width] = small
    return padded


Fit = Literal["crop", "pad"]
FITS: Final = {"crop": resize_crop, "pad": resize_pad}


def sample_times(start_s: float, num_frames: int, fps: float) -> list[float]:
    """The times of `num_frames` frames at `fps`, from `start_s` on."""
    return [start_s + index / fps for index in range(num_frames)]
