"""Where one shot ends and the next begins. The only door to PySceneDetect.

Cuts come from PySceneDetect's adaptive detector (a frame that differs much more from its neighbours than they do among
themselves, so a fast pan or a subject that fills the frame is no cut); a fade through black and a dissolve part shots too, and
their black or mixed frames belong to neither. Walks once over small frames and gathers, on the way, the black bars that frame
the picture.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode
from scenedetect.common import Timecode

from data_tools.dissolves import SIZE, DissolveFinder

_DETECTOR_SHORT_SIDE = 144
_MIN_SHOT_S = 0.5
_LEAST_CHANGE = 10.0  # of PySceneDetect's 255; at its own 15 a cut in black and white needs a change of 45 in lightness
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


@dataclass(frozen=True)
class Place:
    """Where one frame belongs, once that is certain."""

    pts: int
    time_s: float
    is_between: bool  # black or mixed: of no shot
    begins: bool  # with it begins a shot; the one before, if any was open, ends


class ShotFinder:
    """Is shown every frame of one file, in order, and tells some frames later where each belongs.

    Attributes:
        lag: so many frames are shown after one until its place is certain.
    """

    def __init__(self, time_base: Fraction, fps: Fraction) -> None:
        """Takes seconds per tick of the file's clock, and the file's average frame rate."""
        self._time_base, self._fps = time_base, fps
        self._detector = AdaptiveDetector(min_scene_len=_MIN_SHOT_S, min_content_val=_LEAST_CHANGE)
        self._dissolves = DissolveFinder(float(fps))
        self.lag = max(self._dissolves.reach, self._detector.window_width)
        self._waiting: deque[tuple[int, float, bool]] = deque()  # pts, time, is black: frames whose place is not certain yet
        self._cuts: set[int] = set()
        self._mixed: set[int] = set()
        self._spans: list[Span] = []
        self._start: int | None = None  # of the shot that is open
        self._num_frames = 0
        self._pts = (0, 0)  # of the first frame and of the last
        self._brightest: np.ndarray | None = None  # (H, W) uint8, over all frames
        self._lumas = np.zeros(256, np.int64)  # how often each was seen
        self._ranges: list[float] = []  # a frame's mean difference of the largest and the smallest channel

    def show(self, time_s: float, frame: np.ndarray) -> list[Place]:
        """Takes the next frame, (H, W, 3) uint8 RGB, with its time in seconds on the file's own clock."""
        pts = round(Fraction(time_s) / self._time_base)
        luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        is_black = bool(np.percentile(luma[::4, ::4], 99) < _BLACK_LUMA)
        self._pts = (self._pts[0] if self._num_frames else pts, pts)
        self._num_frames += 1
        self._waiting.append((pts, time_s, is_black))
        self._brightest = luma if self._brightest is None else np.maximum(self._brightest, luma)
        self._lumas += np.bincount(luma[::4, ::4].ravel(), minlength=256)
        highest, lowest = _extremes(frame[::8, ::8])
        self._ranges.append(float((highest - lowest).mean()))
        self._mixed.update(self._dissolves.show(pts, cv2.resize(luma, SIZE, interpolation=cv2.INTER_AREA)))
        timecode = FrameTimecode(Timecode(pts, self._time_base), fps=float(self._fps))
        self._cuts.update(cut.pts for cut in self._detector.process_frame(timecode, _small_bgr(frame)))
        return [self._settle()] if len(self._waiting) > self.lag else []

    def rest(self) -> list[Place]:
        """The places of all frames still waiting, when there are no more to come."""
        return [self._settle() for _ in range(len(self._waiting))]

    def bars(self) -> tuple[int, int, int, int]:
        """The black bars of what was seen so far; see `find_bars`."""
        assert self._brightest is not None, "no frame was shown"
        return find_bars(self._brightest)

    def walk(self) -> Walk:
        """What was found, when every frame was shown and `rest` taken.

        Spans are in order, at least one. A stretch shorter than half a second is given up, unless there is nothing else.
        """
        assert self._num_frames, "no frame was shown"
        first, last = self._pts
        end_pts = last + max(1, round(1 / self._fps / self._time_base))
        spans = self._spans if self._start is None else [*self._spans, Span(self._start, end_pts)]
        long_enough = [span for span in spans if (span.end_pts - span.start_pts) * self._time_base >= _MIN_SHOT_S]
        spans = long_enough or [max(spans, key=lambda span: span.end_pts - span.start_pts, default=Span(first, end_pts))]
        return Walk(tuple(spans), self._num_frames, end_pts, self.bars(), self._is_flat())

    def _settle(self) -> Place:
        pts, time_s, is_black = self._waiting.popleft()
        is_between = is_black or pts in self._mixed
        begins = not is_between and (self._start is None or pts in self._cuts)
        if self._start is not None and (begins or is_between):
            self._spans.append(Span(self._start, pts))
        self._start = None if is_between else pts if begins else self._start
        return Place(pts, time_s, is_between, begins)

    def _is_flat(self) -> bool:
        share = self._lumas.cumsum() / self._lumas.sum()
        darkest, brightest = np.searchsorted(share, (0.01, 0.99))
        return bool(darkest >= _LOG_DARK and brightest <= _LOG_BRIGHT and np.mean(self._ranges) < _LOG_RANGE)


def find_shots(frames: Iterable[tuple[float, np.ndarray]], time_base: Fraction, fps: Fraction) -> Walk:
    """Finds the shots of one file: shows a `ShotFinder` all its frames."""
    finder = ShotFinder(time_base, fps)
    for time_s, frame in frames:
        finder.show(time_s, frame)
    finder.rest()
    return finder.walk()


def _small_bgr(frame: np.ndarray) -> np.ndarray:
    scale = _DETECTOR_SHORT_SIDE / min(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    highest, lowest = _extremes(small)
    is_grey = (highest - lowest < _GREY_RANGE)[..., None]  # the hue of what is nearly grey is noise, and jumps at key frames
    return np.ascontiguousarray(np.where(is_grey, highest[..., None], small[..., ::-1]))


def _extremes(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's largest and smallest channel, (H, W): plane by plane, which numpy does ten times as fast as along an axis."""
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    return np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)


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
