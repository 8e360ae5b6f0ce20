"""Writes shots while they are still being found: one walk through a file is enough, and a thread encodes beside it.

A shot is written under a name of no meaning; when the whole file has been seen, `hand_over` gives it the one it is to have. What
nobody took is deleted in the end. Knows frames and times; decides nothing.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue
from types import TracebackType
from typing import Final

import numpy as np

from data_tools.normalise import normalise_shot
from data_tools.shots import Span

Crop = tuple[int, int, int, int]

_MOST_WAITING: Final = 8  # frames between finding and encoding
_LOOK_S: Final = 1.0  # how often a full queue looks whether the encoder has failed


@dataclass
class _Shot:
    """One that is being written, or is written."""

    start_pts: int
    crop: Crop
    path: Path
    frames: "Queue[tuple[float, np.ndarray | None]]"
    done: "Future[None]"


class ShotWriter:
    """Writes the shots of one file, one after the other; a context manager, which deletes what was not handed over."""

    def __init__(self, folder: Path, stem: str, fps: Fraction) -> None:
        """Takes the folder for the shots, a stem that is the file's own, and the constant rate to write at."""
        self._folder, self._stem, self._fps = folder, f".{stem}-{os.getpid()}", fps
        self._encoder = ThreadPoolExecutor(1, "encoder")
        self._open: _Shot | None = None
        self._written: dict[tuple[Span, Crop], _Shot] = {}

    def __enter__(self) -> "ShotWriter":
        """Nothing more: the thread starts with the first shot."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the thread and deletes what was not handed over."""
        if self._open is not None:
            self._give(self._open, (0.0, None))
        self._encoder.shutdown()
        for path in self._folder.glob(f"{self._stem}-*.tmp.mp4"):
            path.unlink()

    def begin(self, start_pts: int, start_s: float, crop: Crop) -> None:
        """A shot begins; none is open."""
        assert self._open is None
        path, frames = self._folder / f"{self._stem}-{start_pts}.tmp.mp4", Queue(_MOST_WAITING)
        done = self._encoder.submit(normalise_shot, _taken(frames), path, start_s, self._fps, crop)
        self._open = _Shot(start_pts, crop, path, frames, done)

    def show(self, time_s: float, frame: np.ndarray) -> None:
        """The next frame of the shot that is open; see `normalise_shot`."""
        assert self._open is not None
        self._give(self._open, (time_s, frame))

    def end(self, end_pts: int, end_s: float) -> None:
        """The shot that is open, if any, ends before this time."""
        if self._open is not None:
            self._give(self._open, (end_s, None))
            self._written[Span(self._open.start_pts, end_pts), self._open.crop] = self._open
            self._open = None

    def hand_over(self, span: Span, crop: Crop, target: Path) -> bool:
        """Moves what was written of `span` to `target`; False if it was not written, or with other bars taken off.

        Raises:
            MediaError, OSError: it could not be written.
        """
        shot = self._written.get((span, crop))
        if shot is None:
            return False
        shot.done.result()
        os.replace(shot.path, target)
        return True

    def _give(self, shot: _Shot, item: tuple[float, np.ndarray | None]) -> None:
        while not shot.done.done():  # one that failed takes nothing any more, and says so when it is handed over
            try:
                return shot.frames.put(item, timeout=_LOOK_S)
            except Full:
                continue


def _taken(frames: "Queue[tuple[float, np.ndarray | None]]") -> Iterator[tuple[float, np.ndarray | None]]:
    while True:
        time_s, frame = frames.get()
        yield time_s, frame
        if frame is None:
            return
