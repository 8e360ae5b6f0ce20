"""How far the colours of a video lie from the brand's palette (CIEDE2000). Knows frames and hex colours, no files.

Colours are compared in CIELAB under D65 (IEC 61966-2-1 primaries, CIE 1931 2 degree observer). Shrinking happens in
linear light: the mean of black and white code values is not the mean of their light.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from skimage.color import deltaE_ciede2000, lab2rgb, xyz2lab
from skimage.color.colorconv import xyz_from_rgb

VERSION: Final = 1
GRID: Final = (60, 96)  # most rows and columns that are compared
MOST_FRAMES: Final = 9
NEAR: Final = 10.0  # CIEDE2000 within which a person calls it "that colour, in other light"

# 8-bit sRGB code value -> linear light in [0, 1] (IEC 61966-2-1)
_CODES = np.arange(256) / 255
LINEAR: Final = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)


def palette_lab(palette: Sequence[str]) -> np.ndarray:
    """Hex colours such as `#D7263D` as CIELAB.

    Returns:
        (K, 3) float32: L* 0 to 100, a* and b* about -128 to 127.
    """
    codes = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in palette], dtype=np.uint8)
    return linear_to_lab(LINEAR[codes])


def linear_to_lab(linear: np.ndarray) -> np.ndarray:
    """Linear sRGB light in [0, 1], shape (..., 3), as CIELAB, same shape."""
    return np.asarray(xyz2lab(linear @ xyz_from_rgb.T.astype(linear.dtype)), dtype=np.float32)


def small_lab(frames: np.ndarray) -> np.ndarray:
    """Frames shrunk by area averaging in linear light, as CIELAB.

    Args:
        frames: (F, H, W, 3) uint8 sRGB.

    Returns:
        (F, min(H, 60), min(W, 96), 3) float32.
    """
    size = (min(frames.shape[1], GRID[0]), min(frames.shape[2], GRID[1]))
    linear = torch.from_numpy(LINEAR[frames]).movedim(-1, 1)  # (F, 3, H, W)
    return linear_to_lab(F.interpolate(linear, size, mode="area").movedim(1, -1).numpy())


def spread(num_frames: int, most: int = MOST_FRAMES) -> np.ndarray:
    """At most `most` frame numbers, evenly from the first to the last."""
    return np.unique(np.linspace(0, num_frames - 1, min(num_frames, most)).round().astype(int))


def palette_distance(frames: np.ndarray, palette: np.ndarray) -> tuple[float, float]:
    """Metric P1: distance of every pixel to its nearest palette colour.

    At most nine frames, spread evenly, each shrunk to at most 96x60.

    Range and direction: the median is a CIEDE2000 distance, 0 to about 100, lower is nearer the brand, below 1.5 is
    encoding noise; the share of pixels within 10 is 0 to 1, higher is nearer.

    Failure modes: skin, sky and shadow are rightly off any palette, so the number is read against real footage and the
    base model, never alone. Random colours already lie within 10 of a five-colour palette for about 6 % of pixels. A
    palette measured from the footage itself lies near that footage by construction.

    Args:
        frames: (F, H, W, 3) uint8 sRGB.
        palette: (K, 3) CIELAB, K at least 1.

    Returns:
        (median distance, share within 10).
    """
    lab = small_lab(frames[spread(len(frames))]).reshape(-1, 1, 3)  # (P, 1, 3)
    nearest = deltaE_ciede2000(lab, palette[None]).min(axis=1)  # (P, K) -> (P,)
    return float(np.median(nearest)), float((nearest <= NEAR).mean())


def measure_palette(lab: np.ndarray, num_colours: int = 5, seed: int = 0) -> tuple[str, ...]:
    """The colours that cover most of some footage: k-means in CIELAB, most frequent first.

    Args:
        lab: (P, 3) CIELAB pixels of training footage.
        num_colours: how many colours are looked for; fewer come back when the footage has fewer.
        seed: of the first centres.

    Returns:
        Hex colours such as `#D7263D`.
    """
    pixels = lab[:: max(1, len(lab) // 20_000)].astype(np.float64)
    num_colours = min(num_colours, len(np.unique(pixels.round(1), axis=0)))
    centres, owner = kmeans2(pixels, num_colours, minit="++", rng=np.random.default_rng(seed))
    counts = np.bincount(owner, minlength=num_colours)
    codes = (lab2rgb(centres) * 255).round().astype(int)
    hexes = ["#{:02X}{:02X}{:02X}".format(*codes[k]) for k in counts.argsort()[::-1] if counts[k] > 0]
    return tuple(dict.fromkeys(hexes))
