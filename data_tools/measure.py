"""Everything that is measured on one normalised shot, in one pass over its frames: light, movement, roll, and faults.

Runs in a child process under `workers`, so that shots are measured side by side. Names nothing: it returns numbers. When a
number would come out differently, `tags.MEASURED_VERSION` goes up.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_tools import camera, light, workers
from data_tools.faults import measure_faults
from data_tools.scenes import hash_frame
from lora_studio import video

_SHORT_SIDE = 270
_TRACKED_FPS = 10
_LONGEST_S = 40.0  # of a longer shot the middle is followed
_WIDE_GAP = 6  # tracked frames: about half a second


def measure_shot(arguments: dict[str, Any], beat: workers.Beat) -> dict[str, Any]:
    """Measures one shot.

    Args:
        arguments: `path` of the normalised shot, `duration_s`, `short_side` in pixels, and `places` (0..1) where single frames
            are looked at.
        beat: told the share of the work done.

    Returns:
        `measures` by name, `flags` (see `faults`; 0..1), `scores` by axis and value, `hashes` of the single frames.

    Raises:
        MediaError: the clip cannot be decoded.
    """
    cv2.setNumThreads(1)
    path, duration_s = Path(arguments["path"]), arguments["duration_s"]
    margin_s = max(0.0, (duration_s - _LONGEST_S) / 2)
    frames = []
    for time_s, frame in _thinned(video.iterate_frames(path, margin_s, duration_s - margin_s, short_side=_SHORT_SIDE)):
        frames.append((time_s, frame))
        beat(min(0.5, 0.5 * len(frames) / _TRACKED_FPS / max(duration_s, 1e-3)))
    looked_at = [_frame_at(path, place * duration_s, frames) for place in arguments["places"]]
    found = light.measure_light(np.stack(looked_at))
    movement = camera.measure_movement(camera.track(_beating(frames, beat)), camera.track(frames[::_WIDE_GAP]))
    rolls = [camera.measure_roll(frame) for frame in looked_at]
    scores = {**found.scores, "angle.movement": movement.scores, "angle.steadiness": movement.steadiness,
              "angle.dutch": camera.dutch_scores(rolls)}  # fmt: skip
    told = [roll for roll in rolls if roll is not None]
    roll = {"roll_degrees": float(np.median(told))} if told else {}
    return {
        "measures": {**found.measures, **movement.measures, **roll},
        "flags": measure_faults([frame for _, frame in frames], looked_at, arguments["short_side"]),
        "scores": {axis: values for axis, values in scores.items() if values},
        "hashes": [hash_frame(frame) for frame in looked_at],
    }


def _frame_at(path: Path, time_s: float, frames: list[tuple[float, np.ndarray]]) -> np.ndarray:
    if frames[0][0] <= time_s <= frames[-1][0]:
        return min(frames, key=lambda one: abs(one[0] - time_s))[1]
    return next(video.iterate_frames(path, time_s, short_side=_SHORT_SIDE), frames[-1])[1]


def _thinned(frames: Iterable[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
    due = -1.0
    for time_s, frame in frames:
        if time_s >= due - 1e-3:
            due = (due if due >= 0 else time_s) + 1 / _TRACKED_FPS
            yield time_s, frame


def _beating(frames: list[tuple[float, np.ndarray]], beat: workers.Beat) -> Iterator[tuple[float, np.ndarray]]:
    for index, frame in enumerate(frames):
        beat(0.5 + 0.5 * index / len(frames))
        yield frame
