"""Where one picture melts into another. Knows small grey frames and times; parts nothing itself.

In a dissolve the frame in the middle is the mean of the frames on both sides, though those show different things. A cut has no such
middle, a moving camera shows something else in it, and when light alone changes both sides show the same.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np

_SPANS_S: Final = (0.5, 1.0, 1.6)  # between the frames on both sides
_LEAST_CHANGE: Final = 0.04  # mean difference of the sides, of the range from black to white
_MOST_REST: Final = 0.06  # what the mean of the sides leaves of the middle frame, as a share of that difference
_MOST_LIKENESS: Final = 0.5  # correlation of the sides
_LEAST_DETAIL: Final = 0.02  # deviation of each side: a fade to or from a plain frame is none
_PURE: Final = 0.1  # a frame with less than that of the other picture belongs to its own
SIZE: Final = (36, 20)  # of the frames that are looked at, width and height


class DissolveFinder:
    """Is shown every frame in order, and tells which belong to a dissolve.

    Attributes:
        reach: a mixed frame is told when at most so many have followed it.
    """

    def __init__(self, fps: float) -> None:
        self._spans = sorted({max(4, 2 * round(span_s * fps / 2)) for span_s in _SPANS_S})  # frames
        self.reach = self._spans[-1]
        self._kept: deque[tuple[int, np.ndarray]] = deque(maxlen=self.reach + 1)

    def show(self, pts: int, small: np.ndarray) -> Iterator[int]:
        """Takes the next frame, `SIZE` grey uint8; yields the pts of frames that are now known to be mixed, some more than once."""
        self._kept.append((pts, small.astype(np.float32) / 255))
        for span in self._spans:
            if len(self._kept) > span:
                yield from _mixed([self._kept[index] for index in range(len(self._kept) - span - 1, len(self._kept))])


def _mixed(window: list[tuple[int, np.ndarray]]) -> list[int]:
    """The pts of the mixed frames between the first and the last, if these melt into each other."""
    first, middle, last = window[0][1], window[len(window) // 2][1], window[-1][1]
    change = last - first
    if np.abs(change).mean() < _LEAST_CHANGE or min(first.std(), last.std()) < _LEAST_DETAIL:
        return []
    if np.abs(middle - (first + last) / 2).mean() > _MOST_REST * np.abs(change).mean():
        return []
    if np.corrcoef(first.ravel(), last.ravel())[0, 1] > _MOST_LIKENESS:
        return []
    weights = [float(((frame - first) * change).sum() / np.square(change).sum()) for _, frame in window]
    return [pts for (pts, _), weight in zip(window, weights, strict=True) if _PURE < weight < 1 - _PURE]
