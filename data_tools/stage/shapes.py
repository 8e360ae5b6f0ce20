"""The product shapes of the virtual stage, as signed distances. Knows outlines; knows no colour, light or camera.

A shape is an outline in the half plane (radius, height) carried around an axis: a circle gives a bottle, a rounded
rectangle gives a box, an axis towards the viewer gives a standing ring. The outline's distance is tabulated once, so
that every shape costs the renderer the same single look-up. Lengths are decimetres.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np

CELL_DM: Final = 0.008  # spacing of the distance table
MARGIN_DM: Final = 0.4  # how far the table reaches beyond the shape

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (radius, height) -> signed distance


@dataclass(frozen=True)
class Shape:
    """One product shape, standing on the floor, its front towards +z. All lengths in decimetres.

    Attributes:
        noun: how a caption names it.
        outline: signed distance in the half plane (radius, height).
        radius, height: extent of the standing shape to each side, and upwards.
        band: lower and upper edge of the stripe, measured along the axis.
        badge: height of the badge's centre, and its radius.
        cap: the accent colour begins above this height; None for a shape without a cap.
        half_depth: half the extent from front to back; equal to `radius` for a round shape.
        section: how the outline is carried around: `round` or `square` about the upright axis, `ring` about the z axis.
        handle: height, circle radius and bar radius of a handle on the right-hand side; None without.
        has_face: two eyes are painted above the badge.
    """

    noun: str
    outline: Outline
    radius: float
    height: float
    band: tuple[float, float]
    badge: tuple[float, float]
    cap: float | None = None
    half_depth: float | None = None
    section: Literal["round", "square", "ring"] = "round"
    handle: tuple[float, float, float] | None = None
    has_face: bool = False

    @property
    def depth(self) -> float:
        """Half the extent from front to back."""
        return self.radius if self.half_depth is None else self.half_depth


def polygon(*corners: tuple[float, float, float]) -> Outline:
    """A closed outline through (radius, height, fillet) corners, listed from the bottom of the axis to its top."""
    points = np.concatenate([_fillet(corners, i) for i in range(len(corners))])

    def distance(radius: np.ndarray, height: np.ndarray) -> np.ndarray:
        best = np.full(radius.shape, np.inf)
        inside = np.zeros(radius.shape, dtype=bool)
        for (ar, ay), (br, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if ar != 0 or br != 0:  # the axis is no surface
                along = ((radius - ar) * (br - ar) + (height - ay) * (by - ay)) / max((br - ar) ** 2 + (by - ay) ** 2, 1e-12)
                along = np.clip(along, 0, 1)
                best = np.minimum(best, np.hypot(radius - ar - along * (br - ar), height - ay - along * (by - ay)))
            if ay != by:
                crosses = (ay > height) != (by > height)
                inside ^= crosses & (radius < ar + (height - ay) / (by - ay) * (br - ar))
        return np.where(inside, -best, best)

    return distance


def _fillet(corners: tuple[tuple[float, float, float], ...], index: int) -> np.ndarray:
    radius, height, fillet = corners[index]
    here = np.array([radius, height])
    if fillet == 0 or index in (0, len(corners) - 1):
        return here[None]
    before, after = (np.array(corners[index + step][:2]) - here for step in (-1, 1))
    start, end = (here + side * min(fillet / np.hypot(*side), 0.5) for side in (before, after))
    bend = np.linspace(0, 1, 6)[:, None]
    return (1 - bend) ** 2 * start + 2 * bend * (1 - bend) * here + bend**2 * end


def circles(*discs: tuple[float, float, float], blend: float = 0.05) -> Outline:
    """Discs (radius from the axis, height, disc radius), melted together over `blend` decimetres."""

    def distance(radius: np.ndarray, height: np.ndarray) -> np.ndarray:
        result = np.full(radius.shape, 10.0)
        for r, y, size in discs:
            disc = np.hypot(radius - r, height - y) - size
            near = np.clip(blend - np.abs(result - disc), 0, None) / blend
            result = np.minimum(result, disc) - near**2 * blend / 4
        return result

    return distance


SHAPES: Final[dict[str, Shape]] = {
    "bottle": Shape(
        "bottle",
        polygon((0, 0, 0), (0.3, 0, 0.05), (0.3, 0.98, 0.16), (0.115, 1.22, 0.1), (0.115, 1.36, 0), (0.14, 1.36, 0.02),
                (0.14, 1.58, 0.03), (0, 1.58, 0)),
        0.3, 1.58, band=(0.16, 0.3), badge=(0.66, 0.2), cap=1.355,
    ),
    "box": Shape(
        "box", polygon((0, 0, 0), (0.44, 0, 0.03), (0.44, 1.26, 0.03), (0, 1.26, 0)),
        0.44, 1.26, band=(0.14, 0.3), badge=(0.78, 0.26), half_depth=0.22, section="square",
    ),
    "can": Shape(
        "can",
        polygon((0, 0, 0), (0.28, 0, 0.02), (0.33, 0.07, 0.03), (0.33, 1.06, 0.03), (0.275, 1.14, 0.01), (0.275, 1.17, 0.01),
                (0.25, 1.17, 0.01), (0.24, 1.13, 0.02), (0, 1.13, 0)),
        0.33, 1.17, band=(0.14, 0.26), badge=(0.64, 0.21), cap=1.07,
    ),
    "cone": Shape(
        "cone", polygon((0, 0, 0), (0.45, 0, 0.03), (0.45, 0.09, 0.03), (0.40, 0.1, 0.02), (0.06, 1.26, 0.05), (0, 1.29, 0)),
        0.45, 1.29, band=(0.52, 0.68), badge=(0.32, 0.15), cap=1.02,
    ),
    "figure": Shape(
        "toy figure", circles((0, 0.40, 0.40), (0, 0.98, 0.29), (0, 1.34, 0.07), blend=0.1),
        0.4, 1.41, band=(0.66, 0.73), badge=(0.42, 0.17), cap=1.265, has_face=True,
    ),
    "jar": Shape(
        "jar",
        polygon((0, 0, 0), (0.42, 0, 0.08), (0.42, 0.6, 0.14), (0.34, 0.7, 0.02), (0.38, 0.7, 0.02), (0.38, 0.92, 0.04),
                (0, 0.92, 0)),
        0.42, 0.92, band=(0.08, 0.15), badge=(0.38, 0.19), cap=0.695,
    ),
    "tube": Shape(
        "tube",
        polygon((0, 0, 0), (0.2, 0, 0.03), (0.2, 1.0, 0.015), (0.185, 1.01, 0), (0.185, 1.03, 0), (0.2, 1.04, 0.015),
                (0.2, 1.42, 0.05), (0, 1.42, 0)),
        0.2, 1.42, band=(0.12, 0.24), badge=(0.62, 0.14), cap=1.03,
    ),
    "cup": Shape(
        "cup",
        polygon((0, 0, 0), (0.27, 0, 0.05), (0.38, 0.84, 0.015), (0.345, 0.84, 0.015), (0.32, 0.7, 0.02), (0, 0.7, 0)),
        0.38, 0.84, band=(0.1, 0.18), badge=(0.48, 0.17), handle=(0.44, 0.2, 0.045),
    ),
    "ring": Shape(
        "ring", circles((0.4, 0.0, 0.16)),
        0.56, 1.12, band=(-0.03, 0.03), badge=(0.16, 0.12), half_depth=0.16, section="ring",
    ),
    "flask": Shape(
        "round flask", circles((0, 0.43, 0.43), (0, 0.9, 0.1), (0, 1.0, 0.1), (0, 1.2, 0.15), blend=0.1),
        0.43, 1.35, band=(0.13, 0.22), badge=(0.46, 0.19), cap=1.04,
    ),
}


@lru_cache(maxsize=32)
def distance_table(name: str) -> tuple[np.ndarray, float]:
    """The tabulated outline of a shape.

    Returns:
        float32 signed distances (rows by height, columns by radius, `CELL_DM` apart; column 0 lies on the axis), and the
        height of row 0 in decimetres.
    """
    shape = SHAPES[name]
    low, high = (-shape.depth, shape.depth) if shape.section == "ring" else (0.0, shape.height)
    radii = np.arange(0, shape.radius + MARGIN_DM, CELL_DM)
    heights = np.arange(low - MARGIN_DM, high + MARGIN_DM, CELL_DM)
    grid_y, grid_r = np.meshgrid(heights, radii, indexing="ij")
    return shape.outline(grid_r, grid_y).astype(np.float32), float(heights[0])
