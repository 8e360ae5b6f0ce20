"""Draws scenes: a value for every axis of the taxonomy's first version, then numbers that make it so. Renders nothing.

Each axis is drawn evenly over its values (a tilted horizon is rarer) unless it is pinned; numbers stay clear of the borders
between values, so that what `describe` says of a drawn scene is never a close call.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import torch

from data_tools.stage.brands import BrandKit
from data_tools.stage.colours import NAMED, colour_name, luminance
from data_tools.stage.scene import (
    ASPECT,
    BACKDROP_FILL,
    Camera,
    Light,
    Product,
    Scene,
    StageSet,
    distance_for,
    floor_light,
    looks_down,
)
from data_tools.stage.shapes import SHAPES
from lora_studio.taxonomy import AXES_V1

Item = TypeVar("Item")

SHARES: Final = {
    "extreme_wide": (0.11, 0.145), "wide": (0.19, 0.29), "medium_wide": (0.35, 0.44), "medium": (0.5, 0.62),
    "medium_close_up": (0.7, 0.86), "close_up": (1.0, 1.35), "extreme_close_up": (1.75, 2.5),
}  # fmt: skip
ELEVATIONS: Final = {"overhead": (80, 88), "high": (24, 45), "eye_level": (0, 9), "low": (-24, -12)}
YAWS: Final = {"front": (0, 11), "three_quarter": (30, 48), "profile": (72, 108), "back": (140, 180)}
KEY_AZIMUTHS: Final = {"front": (5, 26), "side_left": (-105, -50), "side_right": (50, 105), "back": (149, 166), "top": (0, 180),
                       "under": (-25, 25), "ambient": (0, 0)}  # fmt: skip
KEY_ELEVATIONS: Final = {"front": (22, 42), "side_left": (18, 48), "side_right": (18, 48), "back": (18, 36), "top": (74, 86),
                         "under": (-45, -25), "ambient": (60, 60)}  # fmt: skip
RATIOS: Final = {"low": (1.8, 2.3), "medium": (3.4, 5.0), "high": (8.5, 13.0)}
RADII: Final = {"hard": (0.5, 1.6), "soft": (12.0, 24.0)}
TEMPERATURES: Final = {"warm": (3600, 4400), "neutral": (5900, 6900), "cool": (9000, 12000)}
BACKDROPS: Final = {  # light.key -> names of backdrop colours
    "high": ("white", "cream", "pale grey"),
    "mid": ("grey", "beige", "amber", "mint", "sky blue", "pink", "orange"),
    "low": ("black", "charcoal", "navy", "forest green", "maroon"),
}  # fmt: skip
BODIES: Final = ("red", "maroon", "orange", "yellow", "green", "forest green", "teal", "blue", "navy", "purple", "pink", "mint",
                 "white", "black")  # fmt: skip
LEVELS: Final = {"high": (0.55, 0.75), "mid": (0.14, 0.34), "low": (0.008, 0.045)}  # luminance of the lit surroundings


def sample_scene(generator: torch.Generator, pins: Mapping[str, str] | None = None) -> Scene:
    """Draws any product on any set.

    Args:
        generator: the only source of chance.
        pins: taxonomy axis -> value to keep. Two things exclude others: an overhead camera sees the front, lit from a side,
            from above or from everywhere; light from everywhere is soft and low in contrast. Other axes follow when they
            are not pinned; of two pins that exclude each other, vertical angle and light direction win.
    """
    draw = Draw(generator)
    words = draw_words(draw, pins or {})
    body, cap, band, badge = _product_colours(draw)
    product = Product(draw.one(tuple(SHAPES)), body, cap, band if draw.chance(0.75) else None, badge, mark=body,
                      gloss=draw.between(0.2, 0.9))
    backdrop = NAMED[draw.one(BACKDROPS[words["light.key"]])]
    floor = backdrop if draw.chance(0.6) else NAMED[draw.one(BACKDROPS[words["light.key"]])]
    if colour_name(backdrop) == colour_name(body):
        product = replace(product, body=NAMED["white" if luminance(backdrop) < 0.4 else "teal"])
    return _stage(draw, words, product, backdrop, floor, accent=band, plinth=draw.one((NAMED["white"], NAMED["pale grey"], floor)))


def sample_brand_scene(generator: torch.Generator, brand_kit: BrandKit, pins: Mapping[str, str] | None = None) -> Scene:
    """Draws a scene of one brand's product on one of the brand's sets; `pins` as in `sample_scene`."""
    draw = Draw(generator)
    words = draw_words(draw, pins or {})
    backdrop, floor = draw.one(brand_kit.sets[words["light.key"]])
    return _stage(draw, words, brand_kit.product, backdrop, floor, brand_kit.accent, brand_kit.plinth)


class Draw:
    """Numbers and choices out of one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        """Evenly from [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator, device=self.generator.device))

    def one(self, items: Sequence[Item]) -> Item:
        """One of `items`, evenly."""
        return items[int(torch.randint(len(items), (), generator=self.generator, device=self.generator.device))]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.between(0, 1) < probability


def draw_words(draw: Draw, pins: Mapping[str, str]) -> dict[str, str]:
    """A value for each axis that fits the others; `pins` as in `sample_scene`."""
    drawn = {axis: draw.one(tuple(words)) for axis, words in AXES_V1.items()}  # always all of them: pins shift no other draw
    drawn["angle.dutch"] = "yes" if draw.chance(0.08) else "no"
    words = drawn | dict(pins)
    if words["angle.vertical"] == "overhead":
        _fit_overhead_(draw, words, pins)
    if words["light.direction"] == "ambient":
        if "light.direction" not in pins and (pins.get("light.quality") == "hard" or pins.get("light.contrast", "low") != "low"):
            words["light.direction"] = draw.one(("side_left", "side_right"))
        else:
            words |= {"light.quality": "soft", "light.contrast": "low"}
    if words["angle.scale"] == "extreme_close_up" and "angle.view" not in pins:
        words["angle.view"] = draw.one(("front", "three_quarter"))  # the detail is the badge
    return words


def _fit_overhead_(draw: Draw, words: dict[str, str], pins: Mapping[str, str]) -> None:
    """From above the product lies on its back: front to the camera, light across it. Gives way to pins that ask otherwise."""
    lights = ("side_left", "side_right", "top", "ambient")
    asks_otherwise = pins.get("angle.view", "front") != "front" or pins.get("light.direction", "top") not in lights
    if asks_otherwise and "angle.vertical" not in pins:
        words["angle.vertical"] = draw.one(("high", "eye_level", "low"))
        return
    words["angle.view"] = "front"
    if words["light.direction"] not in lights:
        words["light.direction"] = draw.one(("side_left", "side_right"))
    if words["angle.movement"] == "static" and "angle.movement" not in pins:  # nothing at all would move
        words["angle.movement"] = draw.one(("arc", "dolly_in", "dolly_out"))


def _product_colours(draw: Draw) -> tuple[str, str, str, str]:
    """Body, top, stripe and badge: a strong body, light details, a top in a second colour."""
    body = draw.one(BODIES)
    light_body = luminance(NAMED[body]) > 0.3
    details = ("navy", "red", "teal", "black", "purple") if light_body else ("cream", "white", "yellow", "mint")
    top = draw.one(tuple(name for name in ("white", "black", "amber", "teal", "red", "pale grey", "navy") if name != body))
    badge = draw.one(("white", "cream")) if not light_body else draw.one(("white", "cream", "yellow"))
    return NAMED[body], NAMED[top], NAMED[draw.one(details)], NAMED[badge]


def _stage(draw: Draw, words: dict[str, str], product: Product, backdrop: str, floor: str, accent: str, plinth: str) -> Scene:
    """Numbers for the words: pose, camera, light and set."""
    product = _posed(draw, words, product)
    camera = _camera(draw, words, product)
    raised = _plinth_height(draw, camera, product)
    flat = product.lies
    wall = draw.between(2.6, 3.6) + (3.0 if words["angle.scale"] in ("wide", "extreme_wide") else 0.0)
    styles = ("seamless", "seamless", "table", "slats") + (("disc", "disc") if words["angle.vertical"] == "eye_level" else ())
    style = draw.one(styles)
    gloss = draw.between(0.1, 0.35) if draw.chance(0.5) else 0.0
    sight = wall * math.tan(math.radians(min(camera.elevation_deg, 30)))  # how far the line of sight falls on its way to the wall
    stage = StageSet(
        backdrop, floor, "seamless" if flat else style, accent,
        accent_height_dm=max(0.8, raised + 1.5 * product.half_size[1] - sight),
        wall_dm=4 * camera.distance_dm if flat else wall,  # from above, the backdrop is out of the picture
        plinth_height_dm=raised,
        plinth_radius_dm=product.half_size[0] + draw.between(0.12, 0.3),
        plinth=plinth,
        gloss=0.0 if flat else gloss,
    )  # fmt: skip
    return Scene(product, camera, _light(draw, words, camera, backdrop, floor), stage)


def _posed(draw: Draw, words: dict[str, str], product: Product) -> Product:
    """Turned to the asked side, or laid on its back; upright it goes on turning, so slowly that no camera move is mimicked."""
    turned, tilted = draw.between(*YAWS[words["angle.view"]]) * draw.one((-1, 1)), draw.between(-20, 20)
    spin = draw.between(0.8, 1.6) * draw.one((-1, 1)) * min(1.0, 0.5 / SHARES[words["angle.scale"]][0])
    if words["angle.vertical"] == "overhead":
        return replace(product, yaw_deg=tilted, lies=True)
    return replace(product, yaw_deg=turned, spin_deg_s=spin)


def _plinth_height(draw: Draw, camera: Camera, product: Product) -> float:
    """A camera that looks up must still stand above the floor, so the product is raised; else now and then, for looks."""
    raised = draw.between(0.1, 0.3) if draw.chance(0.25) else 0.0
    if camera.elevation_deg > -8:
        return 0.0 if product.lies else raised
    drop = camera.distance_dm * math.sin(math.radians(-camera.elevation_deg))
    return max(0.35, 0.2 + drop - product.half_size[1])


def _camera(draw: Draw, words: dict[str, str], product: Product) -> Camera:
    scale, low = words["angle.scale"], words["angle.vertical"] == "low"
    small = scale in ("extreme_wide", "wide")
    fov = draw.between(34, 40) if small else draw.between(20, 28)
    elevation = draw.between(*((-11, -9.5) if small and low else ELEVATIONS[words["angle.vertical"]]))
    share = draw.between(*SHARES[scale])
    distance = distance_for(product, share, fov, elevation)
    aside = draw.one((-0.13, 0.0, 0.0, 0.13))
    shift_x, shift_y = (aside, -0.03) if share < 0.6 else (0.0, -0.03)
    if share > 0.9:
        shift_x, shift_y = _aim_at_badge(product, elevation, 2 * distance * math.tan(math.radians(fov) / 2), share)
    move, rate = _move(draw, words["angle.movement"], fov)
    roll = draw.between(10, 16) * draw.one((-1, 1)) if words["angle.dutch"] == "yes" else 0.0
    return Camera(distance, fov, 0.0, elevation, roll, shift_x, shift_y + (0.05 if low and share < 0.9 else 0.0), move, rate,
                  sway_seed=int(draw.between(0, 1e6)))


def _aim_at_badge(product: Product, elevation_deg: float, visible_dm: float, share: float) -> tuple[float, float]:
    """Where the product's centre goes when the frame moves towards the badge: wholly for details, in part for close-ups."""
    pull = min(1.0, (share - 0.9) / 0.8)
    elevation, yaw = math.radians(elevation_deg), math.radians(product.yaw_deg)
    drop, reach = product.form.height / 2 - product.form.badge[0], product.form.depth
    if product.lies:
        return pull * drop * -math.sin(yaw) / (visible_dm * ASPECT), pull * drop * math.cos(yaw) / visible_dm
    facing = max(math.cos(yaw), 0.0)
    return (-pull * reach * math.sin(yaw) / (visible_dm * ASPECT) if facing > 0 else 0.0,
            pull * (drop * math.cos(elevation) + reach * facing * math.sin(elevation)) / visible_dm)


def _move(draw: Draw, movement: str, fov_deg: float) -> tuple:
    """Move and rate: a pan covers 6 to 10 % of the frame's width per second, a tilt as much of its height."""
    part, sign = draw.between(0.06, 0.1), -1 if movement.endswith(("_left", "_down", "_out")) else 1
    turn = draw.one((-1, 1))
    rates = {"static": 0.0, "pan": sign * part * fov_deg * 1.45, "tilt": sign * part * fov_deg, "dolly": sign * part,
             "arc": turn * part * 110, "handheld": part * 0.16 * fov_deg}
    move = movement.split("_")[0]
    return move, rates[move]


def _light(draw: Draw, words: dict[str, str], camera: Camera, backdrop: str, floor: str) -> Light:
    """The lamps: what surrounds the product gets the light that its key asks for, the product the usual exposure."""
    where, key = words["light.direction"], words["light.key"]
    ratio = 1.0 if where == "ambient" else draw.between(*RATIOS[words["light.contrast"]])
    light = Light(
        azimuth_deg=draw.between(*KEY_AZIMUTHS[where]) * (draw.one((-1, 1)) if where in ("front", "back", "top") else 1),
        elevation_deg=draw.between(*KEY_ELEVATIONS[where]),
        radius_deg=draw.between(*RADII[words["light.quality"]]),
        ratio=ratio,
        temperature_k=draw.between(*TEMPERATURES[words["light.temperature"]]),
        exposure=draw.between(1.0, 1.25),
    )
    level = draw.between(*LEVELS[key])
    if looks_down(camera):
        wanted = level / (luminance(floor) * floor_light(light))
        return replace(light, exposure=min(max(wanted, 0.95), 1.7 if key == "high" else 1.35))
    return replace(light, backdrop=max(0.03, level / (luminance(backdrop) * light.exposure) - BACKDROP_FILL / ratio))
