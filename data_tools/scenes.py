"""Which shots show the same set-up: takes of one scene, or one shot found in two files. Knows hashes and vectors; opens no video.

Each shot carries perceptual hashes of a few of its frames (Zauner, 2010: the signs of the 64 lowest frequencies of a 32 x 32
picture). Two shots are one scene when each frame of one has a frame like it in the other, or, of shots that follow each other in
time, when a vision model too finds them alike: framed anew, a set-up has other hashes. And scenes chain, as takes drift.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np

from lora_studio.records import Shot

VERSION = 1  # of the hashes
ALIKE_BITS = 8.0  # of 64, the mean over a shot's frames: so far apart two takes of a scene may be
_BLOCK = 512  # shots compared at once
# measured by benchmarks/scenes.py with the shipped model's vectors
_TAKE_BITS = 26.0  # of 64: so far apart two framings of a set-up may be
_TAKE_COSINE = 0.9  # of vectors less the library's mean: so near they must be
_TAKES_APART = 12  # a set-up is filmed again soon: shots compared by their vectors are at most so many places apart
_ENOUGH = 12  # shots, for their mean to be a library's


def hash_frame(frame: np.ndarray) -> str:
    """The perceptual hash of one frame (H, W, 3) uint8: 16 hexadecimal digits."""
    grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(grey)[:8, :8].ravel()
    bits = low > np.median(low[1:])  # the first is the mean lightness
    return np.packbits(bits).tobytes().hex()


def group_scenes(shots: Sequence[Shot], vectors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The scene of every shot, by shot id; a scene is called after the first id in it. Shots without hashes stand alone.

    Compares all pairs of hashes: about ten seconds for 5,000 shots on two cores.

    Args:
        shots: in the order they were filmed.
        vectors: (D,) each, a vision model's, by shot id; shots may lack them.
    """
    hashed = [shot for shot in shots if shot.hashes]
    parent = {shot.shot_id: shot.shot_id for shot in shots}

    def root(one: str) -> str:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for first, second in _alike_pairs(sorted(hashed, key=lambda shot: shot.shot_id)) + _near_takes(hashed, vectors):
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    return {shot.shot_id: root(shot.shot_id) for shot in shots}


def distance(first: Sequence[str], second: Sequence[str]) -> float:
    """How far apart two shots' hashes are: bits of 64, for each frame its nearest in the other shot, the worse way round."""
    bits = _bits_apart(_as_numbers(first)[:, None], _as_numbers(second)[None])
    return float(max(bits.min(axis=0).mean(), bits.min(axis=1).mean()))


def _near_takes(shots: Sequence[Shot], vectors: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    seen = [shot for shot in shots if shot.shot_id in vectors]
    if len(seen) < _ENOUGH:
        return []
    table = np.stack([vectors[shot.shot_id] for shot in seen]).astype(np.float64)
    table -= table.mean(axis=0)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    found = []
    for gap in range(1, min(_TAKES_APART, len(seen) - 1) + 1):
        cosines = (table[:-gap] * table[gap:]).sum(axis=1)
        pairs = [(seen[i], seen[i + gap]) for i in np.flatnonzero(cosines >= _TAKE_COSINE)]
        found += [(a.shot_id, b.shot_id) for a, b in pairs if distance(a.hashes, b.hashes) <= _TAKE_BITS]
    return found


def _alike_pairs(shots: Sequence[Shot]) -> list[tuple[str, str]]:
    if len(shots) < 2:
        return []
    counts = [len(shot.hashes) for shot in shots]
    numbers, starts = np.concatenate([_as_numbers(shot.hashes) for shot in shots]), np.concatenate([[0], np.cumsum(counts)])
    found = []
    blocks = [*range(0, len(shots), _BLOCK), len(shots)]
    for (top, bottom), (left, right) in ((a, b) for a in pairwise(blocks) for b in pairwise(blocks) if a[0] <= b[0]):
        rows, columns = slice(starts[top], starts[bottom]), slice(starts[left], starts[right])
        bits = _bits_apart(numbers[rows, None], numbers[None, columns])
        by_row, by_column = starts[top:bottom] - starts[top], starts[left:right] - starts[left]
        ways = []
        for table, near, far in ((bits, by_column, by_row), (bits.T, by_row, by_column)):
            nearest = np.minimum.reduceat(table, near, axis=1)  # each frame of one shot, the nearest of each other shot
            sums = np.add.reduceat(nearest, far, axis=0, dtype=np.float64)
            ways.append(sums / np.diff([*far, table.shape[0]])[:, None])
        worse = np.maximum(ways[0], ways[1].T)
        found += [(shots[top + i].shot_id, shots[left + j].shot_id) for i, j in np.argwhere(worse <= ALIKE_BITS)]
    return [pair for pair in found if pair[0] < pair[1]]


def _as_numbers(hashes: Sequence[str]) -> np.ndarray:
    return np.array([int(one, 16) for one in hashes], dtype=np.uint64)


def _bits_apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bitwise_count(first ^ second)
