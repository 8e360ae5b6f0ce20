"""Light on the virtual stage: its direction and colour, and the soft shadows it throws on the floor and the backdrop.

Knows where light comes from and what is in its way; knows neither paint nor camera.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from data_tools.stage.field import Field, light_visible
from data_tools.stage.scene import HARD_BELOW_DEG, Light, Scene

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
FILLET_DM = {"table": 0.05, "disc": 0.3, "slats": 0.3}  # radius of the curve between floor and backdrop
FILLET_DEFAULT_DM = 1.6
REACH_DM = 7.0  # shadows farther out than this are not drawn


def direction(azimuth_deg: float, elevation_deg: float) -> Tensor:
    """Unit vector (3,) towards a place given by azimuth (0 is +z, 90 is +x) and elevation."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return torch.tensor([math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)])


def key_direction(scene: Scene) -> Tensor:
    """Unit vector (3,) from the product to the key light; the light's azimuth counts from the camera's mid-shot."""
    return direction(scene.camera.azimuth_deg + scene.light.azimuth_deg, scene.light.elevation_deg)


def light_colour(temperature_k: float) -> tuple[float, float, float]:
    """Linear sRGB of a black body seen by a camera balanced for D65, luminance 1 (Planckian locus after Kim et al. 2002)."""
    t = 1000 / temperature_k
    if temperature_k <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    big_x, big_z = x / y, (1 - x - y) / y
    return (
        max(3.2404542 * big_x - 1.5371385 - 0.4985314 * big_z, 0.0),
        max(-0.9692660 * big_x + 1.8760108 + 0.0415560 * big_z, 0.0),
        max(0.0556434 * big_x - 0.2040259 + 1.0572252 * big_z, 0.0),
    )


def key_and_fill(light: Light) -> tuple[float, float]:
    """Strength of key and fill; together they make 1, and (key + fill) : fill is the light's ratio."""
    return 1 - 1 / light.ratio, 1 / light.ratio


@dataclass(frozen=True)
class Patch:
    """A picture laid on the floor and up the backdrop: `u` runs along x, `v` along the sweep (see `sweep_place`)."""

    values: Tensor  # (1, 1, rows of v, columns of u)
    low: tuple[float, float]
    high: tuple[float, float]

    def at(self, u: Tensor, v: Tensor, outside: float = 1.0) -> Tensor:
        """The value at each place, `outside` beyond the patch; same shape as `u`."""
        grid = torch.stack([(u - self.low[0]) * (2 / (self.high[0] - self.low[0])) - 1,
                            (v - self.low[1]) * (2 / (self.high[1] - self.low[1])) - 1], dim=-1)
        flat = grid.reshape(1, 1, -1, 2)
        return functional.grid_sample(self.values - outside, flat, align_corners=True).reshape(u.shape) + outside


def sweep_place(scene: Scene, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Points (3, P) and normals (3, P) of the floor-and-backdrop surface. `v` is z on the floor; beyond the floor's far
    end it goes on up the curve and the wall, as arc length with falling sign."""
    fillet, end = fillet_radius(scene), -(scene.stage.wall_dm - fillet_radius(scene))
    turn = ((end - v) / fillet).clamp(0, math.pi / 2)  # 0 on the floor, 90 degrees on the wall
    rise = (end - v - fillet * math.pi / 2).clamp(min=0)
    z = torch.maximum(v, torch.full_like(v, end)) - fillet * torch.sin(turn)
    y = fillet * (1 - torch.cos(turn)) + rise
    zero = torch.zeros_like(u)
    return torch.stack([u, y, z]), torch.stack([zero, torch.cos(turn), torch.sin(turn)])


def fillet_radius(scene: Scene) -> float:
    """Radius in decimetres of the curve between floor and backdrop."""
    return FILLET_DM.get(scene.stage.style, min(FILLET_DEFAULT_DM, 0.6 * scene.stage.wall_dm))


def bake_key_shadow(field: Field, columns: int = 192) -> Patch:
    """The share of the key light that reaches the floor and the backdrop, averaged over the source's area."""
    light, device = field.scene.light, field.low.device
    toward = key_direction(field.scene).to(device)
    low, high = _shadow_bounds(field, toward, math.tan(math.radians(light.radius_deg)))
    hard = light.radius_deg < HARD_BELOW_DEG
    points, normals = _grid(field, low, high, columns if hard else columns * 2 // 3)
    total = torch.zeros_like(points[0])
    rays, spread = _source(toward, math.radians(light.radius_deg), 1 if hard else 16)
    for ray in rays:
        total += light_visible(field, points + 0.004 * normals, ray[:, None], spread, steps=24 if hard else 14)
    rows = len(total) // (columns if hard else columns * 2 // 3)
    return Patch((total / len(rays)).reshape(1, 1, rows, -1), low, high)


def bake_occlusion(field: Field, columns: int = 64, rays: int = 20) -> Patch:
    """The share of the sky that the floor around the product sees, cosine weighted: the contact shadow."""
    device = field.low.device
    reach = [float(field.high[i, 0]) + 1.0 for i in (0, 2)]
    low, high = (-reach[0], -reach[1]), (reach[0], reach[1])
    points, _ = _grid(field, low, high, columns)
    points[1] = 0.004
    total = torch.zeros_like(points[0])
    for index in range(rays):
        sine = math.sqrt((index + 0.5) / rays)
        around = index * GOLDEN_ANGLE
        ray = torch.tensor([sine * math.cos(around), math.sqrt(1 - sine * sine), sine * math.sin(around)], device=device)
        total += light_visible(field, points, ray[:, None], 0.35, steps=10)
    return Patch((total / rays).reshape(1, 1, -1, columns), low, high)


def _source(toward: Tensor, radius: float, count: int) -> tuple[list[Tensor], float]:
    """Directions spread evenly over the light's disc, and the tangent of the part that each one stands for."""
    if count == 1:
        return [toward], math.tan(radius)
    helper = torch.tensor([0.0, 1.0, 0.0] if abs(float(toward[1])) < 0.9 else [1.0, 0.0, 0.0], device=toward.device)
    right = functional.normalize(torch.linalg.cross(toward, helper), dim=0)
    up = torch.linalg.cross(right, toward)
    rays = []
    for index in range(count):
        out, around = math.tan(radius) * math.sqrt((index + 0.5) / count), index * GOLDEN_ANGLE
        ray = toward + out * (math.cos(around) * right + math.sin(around) * up)
        ray[1] = ray[1].clamp(min=0.02)
        rays.append(functional.normalize(ray, dim=0))
    return rays, math.tan(radius) * 1.6 / math.sqrt(count)


def _grid(field: Field, low: tuple[float, float], high: tuple[float, float], columns: int) -> tuple[Tensor, Tensor]:
    rows = max(8, min(2 * columns, round(columns * (high[1] - low[1]) / (high[0] - low[0]))))
    device = field.low.device
    v, u = torch.meshgrid(torch.linspace(low[1], high[1], rows, device=device),
                          torch.linspace(low[0], high[0], columns, device=device), indexing="ij")
    return sweep_place(field.scene, u.flatten(), v.flatten())


def _shadow_bounds(field: Field, toward: Tensor, spread: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """The part of the surface that the shadow of the solid's box can reach, as (u, v) corners."""
    low, high = field.low[:, 0], field.high[:, 0]
    corners = torch.cartesian_prod(*torch.stack([low, high], dim=1)).T  # (3, 8)
    fall = max(float(toward[1]) - spread * 0.7, 0.06)
    away = -toward / fall
    floor = corners + away[:, None] * corners[1]
    every = torch.cat([corners, floor], dim=1)
    slack = 0.06 + spread * float(high[1])
    ends = every.amin(1) - slack, every.amax(1) + slack
    floor_end = -(field.scene.stage.wall_dm - fillet_radius(field.scene))
    v_low = float(ends[0][2])
    if v_low < floor_end:  # the shadow climbs the backdrop
        v_low = floor_end - fillet_radius(field.scene) * math.pi / 2 - float(high[1])
    return ((max(float(ends[0][0]), -REACH_DM), max(v_low, -2 * REACH_DM)),
            (min(float(ends[1][0]), REACH_DM), min(float(ends[1][2]), REACH_DM)))

