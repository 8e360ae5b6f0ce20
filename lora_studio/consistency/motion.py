"""What a video does over time: flicker and amount of motion. Knows frames, no model and no files.

Lightness is CIE L* (0 black to 100 white) from linear sRGB light.
"""

from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from lora_studio.consistency.colour import LINEAR

VERSION: Final = 1
GRID: Final = (15, 24)  # most rows and columns of the local flicker measure
LEAST_CELL: Final = 8  # pixels; smaller cells would read moving texture as flicker
FLOW_WIDTH: Final = 256  # frames are shrunk to this width before flow is measured
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # of linear sRGB


def lightness(frames: np.ndarray) -> np.ndarray:
    """L* of every pixel.

    Args:
        frames: (F, H, W, 3) uint8 sRGB.

    Returns:
        (F, H, W) float32 in 0 to 100.
    """
    luminance = LINEAR[frames] @ _LUMINANCE  # (F, H, W)
    linear_part = luminance * (24389 / 27)
    return np.where(luminance <= 216 / 24389, linear_part, 116 * np.cbrt(luminance) - 16).astype(np.float32)


def flicker(frames: np.ndarray) -> tuple[float, float]:
    """Metric T1: how much lightness jumps back and forth from frame to frame.

    With m(t) the mean L* of frame t, the global value is the mean over t of |m(t+1) - 2 m(t) + m(t-1)| / 2. The local
    value is the same for each cell of a 24x15 grid (fewer where cells would be under 8 pixels), averaged. The second
    difference is zero for a steady picture and for an even fade, so a moving camera costs little (a slow textured pan:
    global 0, local about 0.3).

    Range and direction: L* units, 0 to 200, lower is steadier. A picture that alternates by plus and minus a reads 2a.

    Failure modes: real strobing counts as flicker; a drift slower than a few frames is not seen; fast texture raises the
    local value, so it is read against real footage of the same kind.

    Args:
        frames: (F, H, W, 3) uint8 sRGB, at least three frames.

    Returns:
        (global, local).
    """
    assert len(frames) >= 3, f"flicker needs three frames, got {len(frames)}"
    light = torch.from_numpy(lightness(frames))[:, None]  # (F, 1, H, W)
    size = (min(GRID[0], max(1, light.shape[2] // LEAST_CELL)), min(GRID[1], max(1, light.shape[3] // LEAST_CELL)))
    cells = F.interpolate(light, size, mode="area")[:, 0]  # (F, 15, 24)
    return _second_difference(light.mean(dim=(1, 2, 3))), _second_difference(cells)


def _second_difference(series: torch.Tensor) -> float:
    return float((series[2:] - 2 * series[1:-1] + series[:-2]).abs().mean()) / 2


def motion_amount(frames: np.ndarray, fps: float) -> float:
    """Metric D1: mean length of the optical flow (DIS) over all pixels and frame pairs.

    Range and direction: percent of the frame's width per second, 0 is a still. Neither high nor low is better: what
    counts is the ratio to real footage. An adapter trained too long makes everything stand still.

    Failure modes: flat areas show no flow; flicker and boiling texture read as motion.

    Args:
        frames: (F, H, W, 3) uint8, at least two frames.
        fps: frames per second.
    """
    assert len(frames) >= 2, f"motion needs two frames, got {len(frames)}"
    scale = min(1.0, FLOW_WIDTH / frames.shape[2])
    greys = [_grey(frame, scale) for frame in frames]
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # its stub refuses the None it documents
    lengths = [
        float(np.linalg.norm(flow.calc(before, after, None), axis=-1).mean())
        for before, after in pairwise(greys)
    ]
    return 100 * float(np.mean(lengths)) / greys[0].shape[1] * fps


def _grey(frame: np.ndarray, scale: float) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return grey if scale == 1.0 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
