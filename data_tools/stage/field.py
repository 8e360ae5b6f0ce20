"""The solid part of a scene (product and plinth) as one distance field: marching rays to it, and shadows through it.

Knows geometry only: no colour, no camera. Points and directions are float32 tensors (3, P), lengths decimetres.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from data_tools.stage.scene import Scene
from data_tools.stage.shapes import CELL_DM, distance_table

FAR = 1e4
PLINTH_EDGE_DM = 0.03


@dataclass(frozen=True)
class Field:
    """A posed product on its plinth.

    Attributes:
        table: the outline's distances, (1, 1, rows, columns).
        turn: rotation from the world into the product's own frame, (3, 3).
        base: the point of the world that is the product's own origin, (3, 1).
        low, high: corners of the box around everything solid, (3, 1).
    """

    scene: Scene
    table: Tensor
    table_low: float
    turn: Tensor
    base: Tensor
    low: Tensor
    high: Tensor

    def to_product(self, points: Tensor) -> Tensor:
        """World points in the product's own frame: front towards +z, standing on y = 0. (3, P)."""
        return self.turn @ (points - self.base)

    def product_distance(self, points: Tensor) -> Tensor:
        """Signed distance to the product, (P,)."""
        shape = self.scene.product.form
        x, y, z = self.to_product(points)
        if shape.section == "ring":
            radius, along = torch.hypot(x, y - shape.height / 2), z
        elif shape.section == "square":
            radius, along = _rectangle(x, z, shape.radius, shape.depth) + shape.radius, y
        else:
            radius, along = torch.hypot(x, z), y
        distance = self._look_up(radius, along)
        if shape.handle is not None:
            height, circle, bar = shape.handle
            around = torch.hypot(x - shape.radius + 0.03, y - height) - circle
            distance = torch.minimum(distance, torch.hypot(around, z) - bar)
        return distance

    def plinth_distance(self, points: Tensor) -> Tensor:
        """Signed distance to the plinth, (P,)."""
        stage = self.scene.stage
        x, y, z = points
        across = torch.hypot(x, z) - (stage.plinth_radius_dm - PLINTH_EDGE_DM)
        above = y - (stage.plinth_height_dm - PLINTH_EDGE_DM)
        outside = torch.hypot(across.clamp(min=0), above.clamp(min=0))
        return torch.maximum(across, above).clamp(max=0) + outside - PLINTH_EDGE_DM

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance to whatever is solid, (P,)."""
        product = self.product_distance(points)
        return torch.minimum(product, self.plinth_distance(points)) if self.scene.stage.plinth_height_dm > 0 else product

    def normal(self, points: Tensor) -> Tensor:
        """Unit surface normals by tetrahedral differences, (3, P)."""
        corners = torch.tensor([[1, -1, -1, 1], [-1, -1, 1, 1], [-1, 1, -1, 1]], dtype=points.dtype, device=points.device)
        taps = (points[:, None] + 1.5 * CELL_DM * corners[:, :, None]).flatten(1)  # (3, 4P)
        return unit(corners @ self.distance(taps).unflatten(0, (4, -1)))

    def _look_up(self, radius: Tensor, along: Tensor) -> Tensor:
        rows, columns = self.table.shape[-2:]
        grid = torch.stack([radius * (2 / (CELL_DM * (columns - 1))) - 1,
                            (along - self.table_low) * (2 / (CELL_DM * (rows - 1))) - 1], dim=-1)
        return functional.grid_sample(self.table, grid[None, None], padding_mode="border", align_corners=True)[0, 0, 0]


def unit(vectors: Tensor) -> Tensor:
    """Vectors (3, P) scaled to length 1."""
    x, y, z = vectors
    return vectors * (x * x + y * y + z * z).clamp(min=1e-12).rsqrt()


def _rectangle(x: Tensor, z: Tensor, half_x: float, half_z: float, corner: float = 0.03) -> Tensor:
    across, along = x.abs() - (half_x - corner), z.abs() - (half_z - corner)
    return torch.hypot(across.clamp(min=0), along.clamp(min=0)) + torch.maximum(across, along).clamp(max=0) - corner


def build_field(scene: Scene, time_s: float, device: torch.device | str) -> Field:
    """Poses the scene's product as it stands `time_s` after the middle of the shot."""
    product, stage = scene.product, scene.stage
    table, table_low = distance_table(product.shape)
    yaw = math.radians(product.yaw_deg + product.spin_deg_s * time_s)
    sine, cosine = math.sin(yaw), math.cos(yaw)
    turn = torch.tensor([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
    base = torch.tensor([0.0, stage.plinth_height_dm, 0.0])
    if product.lies:  # on its back: the front up, the top away from the camera
        turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]) @ turn
        foot = product.form.height / 2
        base = torch.tensor([foot * sine, product.form.depth + stage.plinth_height_dm, foot * cosine])
    x, y, z = product.half_size
    if product.lies:
        x = z = max(x, z)
    wide = max(x, stage.plinth_radius_dm) if stage.plinth_height_dm > 0 else x
    deep = max(z, stage.plinth_radius_dm) if stage.plinth_height_dm > 0 else z
    low, high = torch.tensor([-wide, -0.001, -deep]), torch.tensor([wide, stage.plinth_height_dm + 2 * y, deep])
    return Field(scene, torch.from_numpy(table)[None, None].to(device), table_low, turn.to(device), base[:, None].to(device),
                 low[:, None].to(device), high[:, None].to(device))


def cross_box(field: Field, origin: Tensor, direction: Tensor, margin: float = 0.02) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the box around everything solid, (P,) each; a ray misses when it leaves before it enters."""
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    first, second = (field.low - margin - origin) * inverse, (field.high + margin - origin) * inverse
    enter = torch.minimum(first, second).amax(0).clamp(min=0)
    leave = torch.maximum(first, second).amin(0)
    return enter, leave


def march(field: Field, origin: Tensor, direction: Tensor, pixel: float, steps: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Marches rays to the solid.

    Args:
        origin: (3, 1), direction: unit vectors (3, P).
        pixel: width of a pixel's footprint at distance 1.

    Returns:
        The indices (Q,) of the rays that hit or graze the solid, their distances (Q,), and how much of the pixel is
        covered (Q,) in (0, 1]: the nearest miss measured in pixels smooths the silhouette.
    """
    enter, leave = cross_box(field, origin, direction)
    rays = torch.nonzero(leave > enter)[:, 0]
    travelled, end = enter[rays], leave[rays]
    nearest, nearest_at = torch.full_like(travelled, FAR), travelled.clone()  # in pixels, and where
    active = torch.arange(len(rays), device=direction.device)
    at, stop, heading = travelled, end, direction.index_select(1, rays)
    for step in range(steps):
        distance = field.distance(origin + heading * at)
        miss = distance / (pixel * at)
        closer = miss < nearest[active]
        nearest[active] = torch.where(closer, miss, nearest[active])
        nearest_at[active] = torch.where(closer, at, nearest_at[active])
        at = at + distance
        if step % 3 == 2:
            on = torch.nonzero((miss > 0.05) & (at < stop))[:, 0]
            active, at, stop, heading = active[on], at[on], stop[on], heading.index_select(1, on)
            if not len(active):
                break
    seen = nearest < 1
    return rays[seen], nearest_at[seen], (1 - nearest[seen]).clamp(0, 1).masked_fill(nearest[seen] < 0.1, 1.0)


def light_visible(field: Field, points: Tensor, toward: Tensor, spread: float, steps: int = 16) -> Tensor:
    """How much of a round light each point sees past the solid.

    Args:
        points: (3, P), a little off any surface.
        toward: unit direction to the light's centre, (3, 1).
        spread: tangent of the light's angular radius.

    Returns:
        (P,) in [0, 1]: 1 in full light, 0 in the core of the shadow (distance over travelled length, as in cone tracing).
    """
    enter, leave = cross_box(field, points, toward, margin=0.02 + 0.5 * spread)
    rays = torch.nonzero(leave > enter)[:, 0]
    visible = points.new_ones(points.shape[1])
    if not len(rays):
        return visible
    start, at, stop = points.index_select(1, rays), enter[rays].clamp(min=0.012), leave[rays]
    share = torch.ones_like(at)
    longest = (stop - at) / (steps * 0.6)
    for _ in range(steps):
        distance = field.distance(start + toward * at)
        share = torch.minimum(share, 0.5 + 0.5 * distance / (spread * at))
        at = at + torch.maximum(distance.abs() * 0.9, 0.25 * longest).clamp(min=0.008)
        at = torch.minimum(at, stop)
    share = share.clamp(0, 1)
    visible[rays] = share * share * (3 - 2 * share)
    return visible
