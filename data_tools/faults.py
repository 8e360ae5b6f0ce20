"""What may be wrong with a shot, as scores 0..1: black, frozen, blurred, tiny, an overlay, text. Flags tell; they drop nothing.

An overlay (a watermark, a logo, a timecode) is told by edges near the border that stay while the picture moves; where nothing
moves, or most of the picture stays, there is nothing to tell it by and the score is 0. In the middle a product that the camera
circles stays too, so a watermark across the picture is not told. Text is told by rows of small strokes of equal height, which
labels on products have too, and leaves against the sky nearly.
"""

from itertools import pairwise

import cv2
import numpy as np

_BLACK_LUMA, _FROZEN_DIFFERENCE = 20.0, 0.25  # of 255
_BLUR_MIDDLE = 25.0  # variance of the Laplacian at which a picture counts as half blurred
_TINY_SIDE = 240.0  # lines of the shorter side at which a picture counts as half tiny
_EDGE = 60.0  # a Sobel gradient (of 8-bit grey) that is an edge
_SAME = 0.9  # of the length of a gradient is left in its mean over time where it is always the same edge
_BORDER, _SPECK = 0.25, 20  # how deep the border is; edge pixels of the smallest overlay
_TURNS = 0.15  # of the main direction's strength is in the other one
_MOVES = 0.35  # of a moving picture's edges at most this share stays in its place
_OVERLAY_SHARE = 0.0006  # of all pixels: edges that stay, at which an overlay is half sure
_LOOKED_AT = 24  # frames
_TEXT_SHARE = 0.05  # of all pixels under rows of text at which a picture counts as half full of it


def measure_faults(frames: list[np.ndarray], looked_at: list[np.ndarray], short_side: int) -> dict[str, float]:
    """Scores 0..1: shares of the frames (black, frozen), how sure (blurred, overlay), how much (tiny, text).

    A locked camera on a still subject is frozen too: the flag tells, it does not judge.

    Args:
        frames: of the whole shot, about ten per second, (H, W, 3) uint8 each.
        looked_at: a few of them.
        short_side: of the picture as it was taken in, in pixels.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    black = np.mean([np.percentile(one[::4, ::4], 99) < _BLACK_LUMA for one in grey])
    changes = [float(cv2.absdiff(a, b).mean()) for a, b in pairwise(grey)]
    frozen = np.mean([change < _FROZEN_DIFFERENCE for change in changes]) if changes else 0.0
    sharpness = float(np.median([cv2.Laplacian(one, cv2.CV_32F).var() for one in grey]))
    shares = [text_share(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in looked_at]
    found = {
        "black": black, "frozen": frozen, "blurred": _half_at(_BLUR_MIDDLE, sharpness), "tiny": _half_at(_TINY_SIDE, short_side, 4),
        "overlay": overlay_score(grey), "text": 1 - _half_at(_TEXT_SHARE, float(np.median(shares))),
    }  # fmt: skip
    return {name: round(float(score), 4) for name, score in found.items()}


def _half_at(middle: float, value: float, power: float = 2) -> float:
    """Falls from 1 at 0 to 0, through a half at `middle`."""
    return 1 / (1 + (value / middle) ** power)


def overlay_score(grey: list[np.ndarray]) -> float:
    """How sure it is that something lies over a moving picture, near its border, and stays in its place.

    Args:
        grey: (H, W) uint8 each, all of one size.
    """
    gradients = np.stack([_gradient(one) for one in grey[:: max(1, len(grey) // _LOOKED_AT)]])  # (F, 2, H, W)
    lengths = np.linalg.norm(gradients, axis=1)
    mean_length = lengths.mean(axis=0)
    same = np.linalg.norm(gradients.mean(axis=0), axis=0) > _SAME * mean_length  # the same edge each time, not another one
    stays = same & (lengths.min(axis=0) > _EDGE / 2) & (mean_length > _EDGE)
    usual = float((lengths > _EDGE).mean())
    if len(gradients) < 5 or usual == 0 or float(stays.mean()) > _MOVES * usual:
        return 0.0
    height, width = stays.shape
    stays[round(_BORDER * height) : -round(_BORDER * height), round(_BORDER * width) : -round(_BORDER * width)] = False
    joined = cv2.morphologyEx(stays.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    number, labels = cv2.connectedComponents(joined)
    mean = gradients.mean(axis=0)
    inside = [stays & (labels == one) for one in range(1, number)]
    area = sum(int(part.sum()) for part in inside if part.sum() >= _SPECK and _turns(mean[:, part])) / stays.size
    return 1 - _half_at(_OVERLAY_SHARE, area)


def _turns(gradients: np.ndarray) -> bool:
    """Whether edges (2, P) run in more than one direction, as letters do: a line that moves along itself seems to stay too."""
    least, most = np.linalg.eigvalsh(gradients @ gradients.T)
    return bool(least > _TURNS * most)


def _gradient(grey: np.ndarray) -> np.ndarray:
    """(2, H, W): how grey changes to the right and down."""
    return np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)])


def text_share(grey: np.ndarray) -> float:
    """The share of a picture (H, W) uint8 that lies under rows of small strokes of equal height, as letters are."""
    height, width = grey.shape
    strokes = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    strokes = (strokes > 45).astype(np.uint8)
    row = max(3, round(width / 48))
    joined = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, np.ones((1, row), np.uint8))
    joined = cv2.morphologyEx(joined, cv2.MORPH_OPEN, np.ones((3, row), np.uint8))
    number, _, boxes, _ = cv2.connectedComponentsWithStats(joined)
    covered = 0
    for left, top, wide, tall, area in boxes[1:number]:
        is_row = 0.02 * height <= tall <= 0.2 * height and wide >= 1.8 * tall and area >= 0.55 * wide * tall
        if is_row and _has_letters(strokes[top : top + tall, left : left + wide]):
            covered += wide * tall
    return covered / grey.size


def _has_letters(strokes: np.ndarray) -> bool:
    """Whether a row changes between stroke and gap often, in most of its lines, about as letters do."""
    tall, wide = strokes.shape
    changes = np.abs(np.diff(strokes.astype(np.int8), axis=1)).sum(axis=1)
    often = np.median(changes[tall // 5 : tall - tall // 5 or None])
    return bool(0.6 <= often * tall / wide <= 12 and often >= 6)
