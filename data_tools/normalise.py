"""One shot becomes one small clean clip: upright, square pixels, progressive, BT.709, constant frame rate, no audio.

Everything after reads these clips and never a master again. Knows frames and sizes; knows no catalog.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from lora_studio import video

SHORT_SIDE = 480  # at most: frames are read at this size
VERSION = 2  # part of every shot id: raise it when the pixels of a normalised shot change


def normalise_shot(
    frames: Iterable[tuple[float, np.ndarray]],
    target: Path,
    start_s: float,
    end_s: float,
    fps: Fraction,
    crop: tuple[int, int, int, int],
) -> None:
    """Writes one shot as a clip with a key frame every 12 frames.

    Args:
        frames: (time on the footage's own clock, (H, W, 3) uint8 RGB at the normalised size), in order.
        target: the MP4 to write.
        start_s: first frame, on the footage's own clock.
        end_s: where to stop, exclusive.
        fps: constant rate to write at.
        crop: (top, bottom, left, right) pixels to take off frames of the normalised size.

    Raises:
        MediaError: there is no frame in the shot.
    """
    steady = at_constant_rate(frames, start_s, end_s, fps)
    video.write_video(target, (_crop_even(frame, crop) for frame in steady), fps)


def at_constant_rate(
    frames: Iterable[tuple[float, np.ndarray]], start_s: float, end_s: float, fps: Fraction
) -> Iterator[np.ndarray]:
    """For every tick of a constant rate, the frame shown in the middle of that tick: by time, never by counting."""
    num_frames = max(1, round((end_s - start_s) * fps))
    shown, tick = None, 0
    for time_s, frame in frames:
        while shown is not None and tick < num_frames and start_s + (tick + 0.5) / fps < time_s:
            yield shown
            tick += 1
        shown = frame
    while shown is not None and tick < num_frames:
        yield shown
        tick += 1


def _crop_even(frame: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = crop
    height, width = frame.shape[0] - top - bottom, frame.shape[1] - left - right
    return frame[top : top + height - height % 2, left : left + width - width % 2]
