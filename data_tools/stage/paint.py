"""The colours on a product: body, cap, stripe, badge, face and back label, with edges as wide as a pixel. Knows no light."""

import torch
from torch import Tensor

from data_tools.stage.colours import linear_rgb
from data_tools.stage.scene import Product


def product_paint(product: Product, point: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor]:
    """Paints points on the product's surface.

    Args:
        point: (3, Q) in the product's own frame, decimetres, front towards +z.
        footprint: (Q,) width of a pixel there, decimetres.

    Returns:
        Linear reflectance (3, Q) and gloss (Q,) in [0, 1].
    """
    shape = product.form
    x, y, z = point
    along = z if shape.section == "ring" else y
    colour = _colour(product.body, x).expand(3, len(x))
    gloss = torch.full_like(x, product.gloss)
    if product.band is not None:
        low, high = shape.band
        inside = torch.minimum(along - low, high - along)
        colour = torch.lerp(colour, _colour(product.band, x), _cover(inside, footprint))
    if shape.cap is not None:
        colour = torch.lerp(colour, _colour(product.cap, x), _cover(y - shape.cap, footprint))
    if shape.noun == "cup":  # coffee
        surface = torch.minimum(shape.radius - 0.05 - torch.hypot(x, z), 0.015 - (y - 0.705).abs())
        colour = torch.lerp(colour, _colour("#2B1710", x), _cover(surface, footprint))
    if product.badge is not None:
        colour = _badge(product, colour, x, y, z, footprint)
    if shape.has_face:
        colour = _face(colour, x, y, z, footprint)
    return colour, gloss


def _badge(product: Product, colour: Tensor, x: Tensor, y: Tensor, z: Tensor, footprint: Tensor) -> Tensor:
    """A disc on the front with a rim and an upward wedge: it tells front from back and right way up from upside down."""
    height, radius = product.form.badge
    x, y, front = x / radius, (y - height) / radius, (z > 0).float()
    fine = footprint / radius
    out = torch.hypot(x, y)
    colour = torch.lerp(colour, _colour(product.badge or product.body, x), _cover(1 - out, fine) * front)
    colour = torch.lerp(colour, _colour(product.mark, x), _cover(0.07 - (out - 0.84).abs(), fine) * front)
    wedge = torch.minimum(y + 0.42, (0.62 - y) * 0.5 - x.abs() * 0.88)
    notch = torch.minimum(y + 0.6, (0.05 - y) * 0.5 - x.abs() * 0.88)
    colour = torch.lerp(colour, _colour(product.mark, x), _cover(wedge, fine) * (1 - _cover(notch, fine)) * front)
    return _back_label(product, colour, x, y, fine, 1 - front)


def _back_label(product: Product, colour: Tensor, x: Tensor, y: Tensor, fine: Tensor, back: Tensor) -> Tensor:
    """The small print on the back: a panel with lines, in units of the badge's radius."""
    panel = torch.minimum(0.8 - x.abs(), 0.95 - y.abs())
    colour = torch.lerp(colour, _colour(product.badge or product.body, x), _cover(panel, fine) * back)
    line = 0.05 - ((y * 4 + 0.5).frac().abs() - 0.5).abs() * 0.25  # lines a quarter of a radius apart
    lines = torch.minimum(torch.minimum(line, 0.6 - x.abs()), 0.8 - y.abs())
    return torch.lerp(colour, _colour(product.mark, x), _cover(lines, fine) * back)


def _face(colour: Tensor, x: Tensor, y: Tensor, z: Tensor, footprint: Tensor) -> Tensor:
    front = (z > 0).float()
    for side in (-1, 1):
        eye = torch.hypot((x - side * 0.1) * 1.15, (y - 1.04) * 0.85)
        colour = torch.lerp(colour, _colour("#15151A", x), _cover(0.048 - eye, footprint) * front)
        glint = torch.hypot(x - side * 0.1 - 0.014, y - 1.06)
        colour = torch.lerp(colour, _colour("#FFFFFF", x), _cover(0.014 - glint, footprint) * front)
    smile = 0.011 - (torch.hypot(x, y - 0.99) - 0.085).abs()
    return torch.lerp(colour, _colour("#15151A", x), _cover(torch.minimum(smile, 0.945 - y), footprint) * front)


def _colour(hex_colour: str, like: Tensor) -> Tensor:
    return torch.tensor(linear_rgb(hex_colour), dtype=like.dtype, device=like.device)[:, None]


def _cover(inside: Tensor, footprint: Tensor) -> Tensor:
    """How much of a pixel lies inside an edge, from the signed distance to it (positive inside)."""
    return (inside / footprint + 0.5).clamp(0, 1)
