"""One shot becomes one small clean clip: upright, square pixels, progressive, BT.709, constant frame rate, no audio.

Everything after reads these clips and never a master again. Knows frames and sizes; knows no catalog.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from lora_studio import video

SHORT_SIDE = 480  # at most: frames are read at this size
VERSION = 3  # part of every shot id: raise it when the pixels of a normalised shot change, and ingest reads every file again


# frames (H, W, 3) uint8 RGB of the normalised size with their times on the footage's own clock, in order; the last item has no
# frame: its time is where the shot ends
Frames = Iterable[tuple[float, np.ndarray | None]]


def normalise_shot(frames: Frames, target: Path, start_s: float, fps: Fraction, crop: tuple[int, int, int, int]) -> None:
    """Writes one shot as a clip with a key frame every 12 frames.

    Args:
        frames: of the shot.
        target: the MP4 to write.
        start_s: where it begins, on the footage's own clock.
        fps: constant rate to write at.
        crop: (top, bottom, left, right) pixels to take off frames of the normalised size.

    Raises:
        MediaError: there is no frame in the shot.
    """
    video.write_video(target, (_crop_even(frame, crop) for frame in at_constant_rate(frames, start_s, fps)), fps)


def at_constant_rate(frames: Frames, start_s: float, fps: Fraction) -> Iterator[np.ndarray]:
    """For every tick of a constant rate, the frame shown in the middle of that tick: by time, never by counting."""
    shown, tick = None, 0
    for time_s, frame in frames:
        num_ticks = max(1, round((time_s - start_s) * fps)) if frame is None else None
        while shown is not None and (start_s + (tick + 0.5) / fps < time_s if num_ticks is None else tick < num_ticks):
            yield shown
            tick += 1
        shown = frame


def _crop_even(frame: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = crop
    height, width = frame.shape[0] - top - bottom, frame.shape[1] - left - right
    return frame[top : top + height - height % 2, left : left + width - width % 2]
