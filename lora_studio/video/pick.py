"""The frames shown at given times, by decord where it can, else by PyAV; and how they are fitted to a size."""

import logging
import math
from collections import deque
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
        if spans[0, 0] < -TICK_S:  # decord shows what the edit list cuts off, and not the same twice
            return _read_pyav(path, times_s)
        picked = _pick(spans[:, 0], float(spans[-1, 1]), times_s, path)
        frames = reader.get_batch(picked).asnumpy()
        reader.seek(0)  # else its thread goes on decoding ahead without limit
    except (decord.DECORDError, RuntimeError) as fault:
        logger.warning("%s: decord cannot read it (%s); PyAV does", path.name, str(fault).splitlines()[0][:120])
        return _read_pyav(path, times_s)
    return frames


def _read_pyav(path: Path, times_s: Sequence[float]) -> np.ndarray:
    """Keeps no more than the frames that are wanted: the clip may be long."""
    waiting = deque(sorted(range(len(times_s)), key=lambda place: times_s[place]))
    shown: dict[int, np.ndarray] = {}  # place in `times_s` -> frame
    first_s = start_s = step_s = 0.0
    before: np.ndarray | None = None
    for time_s, frame in iterate_frames(path):
        first_s = time_s if before is None else first_s
        while before is not None and waiting and times_s[waiting[0]] < time_s - first_s - TICK_S:
            shown[waiting.popleft()] = before
        if not waiting:
            break
        step_s, start_s, before = time_s - first_s - start_s, time_s - first_s, frame
    if before is None:
        raise MediaError(f"{path.name}: no frame can be decoded")
    if waiting:
        _check_end(start_s + step_s if step_s else math.inf, times_s, path)  # nobody knows how long a single frame is shown
    return np.stack([shown.get(place, before) for place in range(len(times_s))])


def _pick(starts: np.ndarray, end_s: float, times_s: Sequence[float], path: Path) -> list[int]:
    _check_end(end_s, times_s, path)
    picked = np.searchsorted(starts, np.asarray(times_s, dtype=np.float64) + TICK_S, side="right") - 1
    return np.clip(picked, 0, len(starts) - 1).tolist()


def _check_end(end_s: float, times_s: Sequence[float], path: Path) -> None:
    if max(times_s) > end_s + TICK_S:
        raise MediaError(f"{path.name}: it ends at {end_s:.3f} s, a frame at {max(times_s):.3f} s was asked for")


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
