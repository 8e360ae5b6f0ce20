"""Camera movement, steadiness and roll measured from pixels. Knows frames and times; fuses nothing and names no shot.

Between frames a similarity (shift, zoom, turn) is fitted to tracked corners with RANSAC; the share of corners that follow it
says whether there was one movement to measure at all. A similarity cannot tell a pan from a sideways move or an orbit, nor a
zoom from a dolly: those share a word here. Roll is read from straight edges, and left unknown where there are few.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

_TRACKED_WIDTH = 480
_MAX_CORNERS, _MIN_CORNERS = 300, 12
_MIN_INLIERS = 0.6  # under this a moving subject, not the camera, explains the picture
_MIN_STILL_INLIERS = 0.93  # over half a second: a slow orbit has less
_MIN_SHIFT_INLIERS = 0.9  # of a pan or a tilt: the parallax of an orbit has less
_MIN_SHAKE_INLIERS = 0.7  # of held and shaky: faces that fill the picture shake, too
_LEAST_SURE = 0.6  # less, and a face that moves before a dark wall was taken for a tilt
_STILL = 1.0  # percent of the frame's side per second
_HANDHELD, _SHAKY = 2.0, 12.0  # percent per second
_SHAKE_OCTAVES = 0.25  # over which one word gives way to the next
_ZOOM_WEIGHT = 0.35  # a zoom of 1 %/s shifts the average pixel by about this much of 1 % of the width
_TURN_WEIGHT = 0.6  # the same for a turn of 1 degree per second
_SMOOTHING_S = 0.6
_ROLL_TOLERANCE, _DUTCH = 3.0, 8.0  # degrees
_LEAST_REACH = 0.5  # of the picture's width: of level edges together


@dataclass(frozen=True)
class Step:
    """Movement of the picture from one frame to the next, per second: percent of width and height, percent, degrees."""

    time_s: float
    right: float
    down: float
    zoom: float
    turn: float
    inliers: float


@dataclass(frozen=True)
class Movement:
    """Measures by name and, when a movement could be measured, a score for each value of `angle.movement` and `angle.steadiness`
    named."""

    measures: dict[str, float]
    scores: dict[str, float]
    steadiness: dict[str, float]


def track(frames: Iterable[tuple[float, np.ndarray]]) -> list[Step]:
    """Follows the picture from frame to frame.

    Args:
        frames: (time in seconds, (H, W, 3) uint8), about ten per second.

    Returns:
        One step per pair of frames in which at least 12 corners could be followed.
    """
    grey = ((time_s, _grey(frame)) for time_s, frame in frames)
    steps = (_step(before, after) for before, after in pairwise(grey))
    return [step for step in steps if step is not None]


def _grey(frame: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = _TRACKED_WIDTH / grey.shape[1]
    return grey if scale >= 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _step(before: tuple[float, np.ndarray], after: tuple[float, np.ndarray]) -> Step | None:
    (start_s, old), (end_s, new) = before, after
    corners = cv2.goodFeaturesToTrack(old, _MAX_CORNERS, 0.01, 6)
    if corners is None or len(corners) < _MIN_CORNERS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(old, new, corners, np.empty_like(corners))
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(new, old, moved, np.empty_like(corners))
    returned = np.linalg.norm(back - corners, axis=2).ravel() < 1
    kept = returned & (found.ravel() == 1) & (found_back.ravel() == 1)
    if kept.sum() < _MIN_CORNERS:
        return None
    height, width = old.shape
    centre = np.array([width / 2, height / 2], dtype=np.float32)
    fit, inliers = cv2.estimateAffinePartial2D(corners[kept] - centre, moved[kept] - centre, ransacReprojThreshold=1.0)
    if fit is None:
        return None
    rate = 1 / (end_s - start_s)
    (a, _, dx), (b, _, dy) = fit
    return Step(
        time_s=end_s, right=100 * rate * dx / width, down=100 * rate * dy / height, zoom=100 * rate * float(np.log(np.hypot(a, b))),
        turn=rate * float(np.degrees(np.arctan2(b, a))), inliers=float(inliers.mean()),
    )  # fmt: skip


def measure_movement(steps: list[Step], wide_steps: list[Step]) -> Movement:
    """Names the movement of a shot: the strongest of pan, tilt and zoom, or static, or handheld.

    Args:
        steps: between neighbouring frames, about a tenth of a second apart.
        wide_steps: between frames about half a second apart. A slow orbit looks still from frame to frame; over half a
            second its parallax shows, and `static` is not claimed.
    """
    if len(steps) < 3:
        return Movement({}, {}, {})
    times = np.array([step.time_s for step in steps])
    paths = {name: np.array([getattr(step, name) for step in steps]) for name in ("right", "down", "zoom", "turn")}
    drift = {name: float(np.median(path)) for name, path in paths.items()}
    shake = float(np.hypot(_spread(_unsteady(times, paths["right"])), _spread(_unsteady(times, paths["down"]))))
    inliers = float(np.mean([step.inliers for step in steps]))
    measures = {
        "pan_percent_per_s": drift["right"], "tilt_percent_per_s": drift["down"], "zoom_percent_per_s": drift["zoom"],
        "roll_degrees_per_s": drift["turn"], "shake_percent_per_s": shake, "movement_inliers": inliers,
    }  # fmt: skip
    scores = _movement_scores(drift, shake, inliers) if inliers >= _MIN_INLIERS else {}
    scores = scores if max(scores.values(), default=0.0) >= _LEAST_SURE else {}
    named = max(scores, key=lambda value: scores[value]) if scores else ""
    if named == "static":
        measures["still_inliers"] = float(np.mean([step.inliers for step in wide_steps])) if wide_steps else 0.0
        scores = scores if measures["still_inliers"] >= _MIN_STILL_INLIERS else {}
    if named.startswith(("pan", "tilt")) and inliers < _MIN_SHIFT_INLIERS:
        scores = {}
    steadiness = steadiness_scores(scores, shake) if inliers >= _MIN_SHAKE_INLIERS else {}
    return Movement({name: round(value, 4) for name, value in measures.items()}, scores, steadiness)


def steadiness_scores(movement: dict[str, float], shake: float) -> dict[str, float]:
    """How steady the camera is: held by hand from a shake of 2 % of the side a second, shaky from 12 %.

    A steady one is locked where it is known to stand and smooth where it is known to move; else nothing is said.

    Args:
        movement: the scores of `angle.movement`; may be empty.
        shake: percent of the frame's side per second.
    """
    held, shaky = (float(1 / (1 + np.exp(-np.log2(max(shake, 1e-3) / limit) / _SHAKE_OCTAVES))) for limit in (_HANDHELD, _SHAKY))
    named = max(movement, key=lambda value: movement[value]) if movement else ""
    steady = {"static": "locked", "handheld": "", "": ""}.get(named, "smooth")
    scores = {"handheld": held * (1 - shaky), "shaky": held * shaky} | ({steady: 1 - held} if steady else {})
    return {value: round(score, 4) for value, score in scores.items()} if max(scores.values()) >= _LEAST_SURE else {}


def _unsteady(times: np.ndarray, path: np.ndarray) -> np.ndarray:
    near = np.abs(times[:, None] - times[None]) <= _SMOOTHING_S / 2
    return path - (near * path).sum(axis=1) / near.sum(axis=1)


def _spread(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values)))  # a standard deviation that single bad fits do not move


def _movement_scores(drift: dict[str, float], shake: float, inliers: float) -> dict[str, float]:
    strengths = {  # the picture moves right when the camera pans left, and down when it tilts up
        "pan_left" if drift["right"] > 0 else "pan_right": abs(drift["right"]),
        "tilt_up" if drift["down"] > 0 else "tilt_down": abs(drift["down"]),
        "dolly_in" if drift["zoom"] > 0 else "dolly_out": abs(drift["zoom"]) * _ZOOM_WEIGHT,
    }
    strengths["handheld"] = shake if shake > _HANDHELD else 0.0
    strengths["static"] = _STILL
    weights = {value: strength**2 for value, strength in strengths.items()}  # of two movements the stronger one is named
    total = sum(weights.values()) + (_TURN_WEIGHT * drift["turn"]) ** 2  # a roll has no word: it only takes away certainty
    return {value: round(inliers * weight / total, 4) for value, weight in weights.items()}


def measure_roll(frame: np.ndarray) -> float | None:
    """How far the camera is rolled, in degrees clockwise, or None where straight edges do not agree.

    A rolled camera turns upright and level edges alike; perspective turns them apart. So both families must say the same, and the
    level ones must reach over half of the picture: those of one thing that lies askew do not.
    """
    grey = _grey(frame)
    lines = cv2.createLineSegmentDetector().detect(grey)[0]
    if lines is None:
        return None
    x0, y0, x1, y1 = lines.reshape(-1, 4).T
    lengths, angles = np.hypot(x1 - x0, y1 - y0), np.degrees(np.arctan2(y1 - y0, x1 - x0))
    is_long = lengths > 0.08 * max(grey.shape)
    families = [_family_angle(angles[is_long] - axis, lengths[is_long], grey.shape[1]) for axis in (0, 90)]
    level, upright = families
    if level is None or upright is None or abs(level - upright) > _ROLL_TOLERANCE:
        return None
    is_level = is_long & (np.abs((angles - level + 90) % 180 - 90) < _ROLL_TOLERANCE)
    if np.ptp(np.concatenate([x0[is_level], x1[is_level]])) < _LEAST_REACH * grey.shape[1]:
        return None
    return (level + upright) / 2


def _family_angle(angles: np.ndarray, lengths: np.ndarray, width: int) -> float | None:
    folded = (angles + 90) % 180 - 90
    near = np.abs(folded) < 35
    if lengths[near].sum() < 0.5 * width:
        return None
    order = np.argsort(folded[near])
    shares = np.cumsum(lengths[near][order])
    middle = float(folded[near][order][np.searchsorted(shares, shares[-1] / 2)])
    agreeing = lengths[near][np.abs(folded[near] - middle) < _ROLL_TOLERANCE].sum()
    return middle if agreeing > 0.5 * shares[-1] else None


def dutch_scores(rolls: list[float | None]) -> dict[str, float]:
    """Scores for `angle.dutch` from the roll of a few frames; empty when most frames did not tell."""
    told = [roll for roll in rolls if roll is not None]
    if len(told) * 2 <= len(rolls):
        return {}
    tilted = float(1 / (1 + np.exp(-(abs(np.median(told)) - _DUTCH))))
    return {"yes": round(tilted, 4), "no": round(1 - tilted, 4)}
