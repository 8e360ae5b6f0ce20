"""Where one shot ends and the next begins. The only door to PySceneDetect.

Cuts come from PySceneDetect's adaptive detector (a frame that differs much more from its neighbours than they do among
themselves, so a fast pan or a subject that fills the frame is no cut); a fade through black and a dissolve part shots too, and
their black or mixed frames belong to neither. Walks once over small frames and gathers, on the way, the black bars that frame
the picture.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode
from scenedetect.common import Timecode

from data_tools.dissolves import SIZE, DissolveFinder

_DETECTOR_SHORT_SIDE = 144
_MIN_SHOT_S = 0.5
_BLACK_LUMA = 20.0  # of 255; the 99th percentile of a black frame stays under it
_BAR_LUMA = 28  # of 255; compression noise in a bar stays under it
_PICTURE_LUMA = 40
_GREY_RANGE = 16  # of 255, between a pixel's channels
_LOG_DARK, _LOG_BRIGHT, _LOG_RANGE = 19, 184, 31  # of 255: log has no black, no white, and pale colours


@dataclass(frozen=True)
class Span:
    """Part of a file, in ticks of its own clock; `end_pts` is exclusive."""

    start_pts: int
    end_pts: int


@dataclass(frozen=True)
class Walk:
    """What one pass over a file found.

    `crop` is (top, bottom, left, right): pixels of bars in frames of the walked size. `is_flat` means that nothing in it is dark,
    bright or colourful, as log footage is when it is shown without its transform.
    """

    spans: tuple[Span, ...]
    num_frames: int
    end_pts: int
    crop: tuple[int, int, int, int]
    is_flat: bool


@dataclass
class _Seen:
    pts: list[int] = field(default_factory=list)
    is_black: list[bool] = field(default_factory=list)
    cuts: set[int] = field(default_factory=set)
    mixed: set[int] = field(default_factory=set)
    brightest: np.ndarray | None = None  # (H, W) uint8, over all frames
    lumas: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # how often each was seen
    ranges: list[float] = field(default_factory=list)  # a frame's mean difference of the largest and the smallest channel


def find_shots(
    frames: Iterable[tuple[float, np.ndarray]], time_base: Fraction, fps: Fraction, seen: Callable[[int], None] | None = None
) -> Walk:
    """Finds the shots of one file.

    Args:
        frames: (time in seconds on the file's own clock, (H, W, 3) uint8 RGB), in order; at least one.
        time_base: seconds per tick of the file's clock.
        fps: the file's average frame rate.
        seen: called after every frame with the number of frames so far.

    Returns:
        Spans in order, at least one. A stretch shorter than half a second is given up, unless there is nothing else.
    """
    detector, dissolves = AdaptiveDetector(min_scene_len=_MIN_SHOT_S), DissolveFinder(float(fps))
    found = _Seen()
    for time_s, frame in frames:
        pts = round(Fraction(time_s) / time_base)
        luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        found.pts.append(pts)
        found.is_black.append(bool(np.percentile(luma[::4, ::4], 99) < _BLACK_LUMA))
        found.brightest = luma if found.brightest is None else np.maximum(found.brightest, luma)
        found.lumas += np.bincount(luma[::4, ::4].ravel(), minlength=256)
        found.ranges.append(float(np.ptp(frame[::8, ::8], axis=2).mean()))
        found.mixed.update(dissolves.show(pts, cv2.resize(luma, SIZE, interpolation=cv2.INTER_AREA)))
        timecode = FrameTimecode(Timecode(pts, time_base), fps=float(fps))
        found.cuts.update(cut.pts for cut in detector.process_frame(timecode, _small_bgr(frame)))
        if seen is not None:
            seen(len(found.pts))
    assert found.brightest is not None, "find_shots needs at least one frame"
    end_pts = found.pts[-1] + max(1, round(1 / fps / time_base))
    return Walk(_spans(found, end_pts, time_base), len(found.pts), end_pts, find_bars(found.brightest), _is_flat(found))


def _is_flat(seen: _Seen) -> bool:
    share = seen.lumas.cumsum() / seen.lumas.sum()
    darkest, brightest = np.searchsorted(share, (0.01, 0.99))
    return bool(darkest >= _LOG_DARK and brightest <= _LOG_BRIGHT and np.mean(seen.ranges) < _LOG_RANGE)


def _small_bgr(frame: np.ndarray) -> np.ndarray:
    scale = _DETECTOR_SHORT_SIDE / min(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    highest, lowest = small.max(axis=2), small.min(axis=2)
    is_grey = (highest - lowest < _GREY_RANGE)[..., None]  # the hue of what is nearly grey is noise, and jumps at key frames
    return np.ascontiguousarray(np.where(is_grey, highest[..., None], small[..., ::-1]))


def _spans(seen: _Seen, end_pts: int, time_base: Fraction) -> tuple[Span, ...]:
    if all(seen.is_black):
        return (Span(seen.pts[0], end_pts),)
    is_between = [is_black or pts in seen.mixed for pts, is_black in zip(seen.pts, seen.is_black, strict=True)]
    spans, start, was_between = [], seen.pts[0], is_between[0]
    for pts, between in zip(seen.pts, is_between, strict=True):
        if between and not was_between:
            spans.append(Span(start, pts))
        elif was_between and not between:
            start = pts
        elif not between and pts in seen.cuts:
            spans.append(Span(start, pts))
            start = pts
        was_between = between
    if not was_between:
        spans.append(Span(start, end_pts))
    long_enough = [span for span in spans if (span.end_pts - span.start_pts) * time_base >= _MIN_SHOT_S]
    longest = max(spans, key=lambda span: span.end_pts - span.start_pts)
    return tuple(long_enough) or (longest,)


def find_bars(brightest: np.ndarray) -> tuple[int, int, int, int]:
    """The black bars around a picture (letterbox, pillarbox).

    A bar is dark in every frame, stands opposite one of the same size, and ends abruptly along most of its length: a
    product on black has dark margins too, but no such edge, and is left alone.

    Args:
        brightest: (H, W) uint8, the brightest luma each pixel ever had.

    Returns:
        (top, bottom, left, right) in pixels, two more than the bar itself; zeros where there is none.
    """
    top, bottom = _bar_pair(brightest)
    left, right = _bar_pair(brightest.T)
    return top, bottom, left, right


def _bar_pair(brightest: np.ndarray) -> tuple[int, int]:
    size = len(brightest)
    is_dark = np.percentile(brightest, 99.5, axis=1) < _BAR_LUMA
    if is_dark.all():
        return 0, 0
    first, last = int(np.argmin(is_dark)), int(np.argmin(is_dark[::-1]))
    if not 0.02 * size <= min(first, last) or max(first, last) > 0.3 * size or abs(first - last) > 2 + 0.01 * size:
        return 0, 0
    edges = brightest[first + 3], brightest[size - last - 4]
    if any(np.mean(edge > _PICTURE_LUMA) < 0.7 for edge in edges):
        return 0, 0
    return first + 2, last + 2
