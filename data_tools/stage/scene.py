"""What stands on the virtual stage, as numbers with units, and the truth about it in the taxonomy's words.

Renders nothing. Lengths are decimetres, angles degrees, times seconds counted from the middle of the shot, colours sRGB
hex. The product's front points to +z, y is up, and the camera looks towards -z at azimuth 0.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from data_tools.stage.colours import colour_name, luminance
from data_tools.stage.shapes import SHAPES, Shape

ASPECT: Final = 1.5  # width over height that shot sizes are reckoned with
HARD_BELOW_DEG: Final = 4.0  # angular radius of a light that still casts crisp shadows

BACKDROP_FILL: Final = 0.6  # share of the fill light that reaches the backdrop

# lower bound of the subject's share of the frame -> shot size, largest first
SCALE_BOUNDS: Final[tuple[tuple[float, str], ...]] = (
    (1.6, "extreme_close_up"), (0.92, "close_up"), (0.66, "medium_close_up"), (0.47, "medium"), (0.32, "medium_wide"),
    (0.16, "wide"), (0.0, "extreme_wide"),
)


@dataclass(frozen=True)
class Product:
    """The subject. `yaw_deg` turns its front away from azimuth 0; `spin_deg_s` keeps turning it; `lies` puts it on its back."""

    shape: str
    body: str
    cap: str
    band: str | None = None
    badge: str | None = None
    mark: str = "#222222"  # what is drawn inside the badge
    gloss: float = 0.5  # 0 matt .. 1 lacquered
    yaw_deg: float = 0.0
    spin_deg_s: float = 0.0
    lies: bool = False

    @property
    def form(self) -> Shape:
        """The outline and its sizes."""
        return SHAPES[self.shape]

    @property
    def half_size(self) -> tuple[float, float, float]:
        """Half extents (x, y, z) of the posed product's bounding box, generous for any yaw."""
        shape = self.form
        reach = shape.radius + (shape.handle[1] + shape.handle[2] if shape.handle else 0.0)
        side = math.hypot(reach, shape.depth) if shape.section == "square" else max(reach, shape.depth)
        return (side, shape.depth, shape.height / 2) if self.lies else (side, shape.height / 2, side)


@dataclass(frozen=True)
class Camera:
    """Looks at the product's centre from `distance_dm`. `rate`: degrees per second; for `dolly` the share of the distance
    covered per second (positive is in, right, up); for `handheld` the RMS sway in degrees."""

    distance_dm: float
    fov_deg: float = 24.0  # vertical
    azimuth_deg: float = 0.0
    elevation_deg: float = 5.0
    roll_deg: float = 0.0
    shift_x: float = 0.0  # where the product's centre stands in the frame: shares of its width and height,
    shift_y: float = 0.0  # to the right and up
    move: Literal["static", "pan", "tilt", "dolly", "arc", "handheld"] = "static"
    rate: float = 0.0
    sway_seed: int = 0


@dataclass(frozen=True)
class Light:
    """The key light as the camera sees it, and the fill. `azimuth_deg`: 0 from the camera, 90 from the picture's right,
    180 from behind; `radius_deg`: angular radius of the source; `ratio`: (key + fill) : fill, 1 means fill alone."""

    azimuth_deg: float = -50.0
    elevation_deg: float = 40.0
    radius_deg: float = 14.0
    ratio: float = 4.0
    temperature_k: float = 6500.0
    exposure: float = 1.0
    backdrop: float = 0.4  # light on the backdrop alone, as a share of key plus fill


@dataclass(frozen=True)
class StageSet:
    """What stands around the product."""

    backdrop: str
    floor: str
    style: Literal["seamless", "table", "slats", "disc"] = "seamless"
    accent: str = "#FFFFFF"  # colour of the disc, and its centre's height above the floor
    accent_height_dm: float = 1.0
    wall_dm: float = 3.0  # distance from the product to the backdrop
    plinth_height_dm: float = 0.0  # 0: none
    plinth_radius_dm: float = 0.7
    plinth: str = "#DDDDDD"
    gloss: float = 0.0  # share of the product's mirror image in the floor


@dataclass(frozen=True)
class Scene:
    """One shot."""

    product: Product
    camera: Camera
    light: Light
    stage: StageSet


def centre_height(scene: Scene) -> float:
    """Height of the product's centre above the floor, in decimetres."""
    return scene.stage.plinth_height_dm + scene.product.half_size[1]


def visible_height(scene: Scene) -> float:
    """Decimetres that the frame's height spans at the product, mid-shot."""
    return 2 * scene.camera.distance_dm * math.tan(math.radians(scene.camera.fov_deg) / 2)


def apparent_size(product: Product, elevation_deg: float) -> tuple[float, float]:
    """Width and height in decimetres of the product's silhouette seen from `elevation_deg`."""
    elevation = math.radians(abs(elevation_deg))
    shape = product.form
    if product.lies:
        return 2 * shape.radius, shape.height * math.sin(elevation) + 2 * shape.depth * math.cos(elevation)
    depth = shape.radius if shape.section != "ring" else shape.depth
    return 2 * shape.radius, shape.height * math.cos(elevation) + 2 * depth * math.sin(elevation)


def frame_share(product: Product, camera: Camera) -> float:
    """Share of the frame's height (or width, if larger) that the product's silhouette takes, mid-shot."""
    width, height = apparent_size(product, camera.elevation_deg)
    visible = 2 * camera.distance_dm * math.tan(math.radians(camera.fov_deg) / 2)
    return max(height / visible, width / (visible * ASPECT))


def distance_for(product: Product, share: float, fov_deg: float, elevation_deg: float) -> float:
    """The camera distance, in decimetres, at which the product takes `share` of the frame."""
    unit = Camera(distance_dm=1.0, fov_deg=fov_deg, elevation_deg=elevation_deg)
    return frame_share(product, unit) / share


def describe(scene: Scene) -> dict[str, str]:
    """The truth about a shot: taxonomy axis -> value, from the scene's numbers alone."""
    camera, light = scene.camera, scene.light
    share = frame_share(scene.product, camera)
    return {
        "angle.scale": next(value for bound, value in SCALE_BOUNDS if share >= bound),
        "angle.vertical": _vertical(camera.elevation_deg),
        "angle.view": "front" if scene.product.lies else _view(scene.product.yaw_deg - camera.azimuth_deg),
        "angle.dutch": "yes" if abs(camera.roll_deg) >= 8 else "no",
        "angle.movement": _movement(camera),
        "light.key": _key(scene),
        "light.contrast": "low" if light.ratio <= 2.5 else "medium" if light.ratio < 7 else "high",
        "light.direction": _direction(light),
        "light.quality": "hard" if light.radius_deg < HARD_BELOW_DEG and light.ratio > 1 else "soft",
        "light.temperature": "warm" if light.temperature_k < 5000 else "cool" if light.temperature_k > 7500 else "neutral",
    }


def content(scene: Scene) -> str:
    """What is in the picture, in plain words: no camera, no light, no brand."""
    product = scene.product
    body = colour_name(product.body)
    details = [f"{_article(colour_name(product.band))} stripe"] if product.band else []
    if product.form.cap is not None and colour_name(product.cap) != body:
        details.append(f"{_article(colour_name(product.cap))} cap")
    return f"{_article(body)} {product.form.noun}" + (f" with {' and '.join(details)}" if details else "") + _place(scene)


def content_but_product(scene: Scene) -> str:
    """The same without the product's colours, which a brand's captions leave to the trigger: "a bottle on a grey backdrop"."""
    return _article(scene.product.form.noun) + _place(scene)


def _place(scene: Scene) -> str:
    product, stage = scene.product, scene.stage
    if product.lies:
        return f" lying on {_article(colour_name(stage.floor))} surface"
    backdrop = f"{_article(colour_name(stage.backdrop))} backdrop"
    if stage.style == "disc":  # of the set, not of the product: what no caption says, a brand's trigger would have to mean
        backdrop += f" with {_article(colour_name(stage.accent))} disc"
    if stage.plinth_height_dm > 0:
        return f" on {_article(colour_name(stage.plinth))} plinth against {backdrop}"
    return f" on {backdrop}"


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _vertical(elevation_deg: float) -> str:
    if elevation_deg > 65:
        return "overhead"
    return "high" if elevation_deg > 18 else "eye_level" if elevation_deg > -8 else "low"


def _view(yaw_deg: float) -> str:
    away = abs((yaw_deg + 180) % 360 - 180)
    return "front" if away < 20 else "three_quarter" if away < 60 else "profile" if away <= 120 else "back"


def _movement(camera: Camera) -> str:
    forward = camera.rate > 0
    words = {
        "pan": "pan_right" if forward else "pan_left",
        "tilt": "tilt_up" if forward else "tilt_down",
        "dolly": "dolly_in" if forward else "dolly_out",
    }
    return words.get(camera.move, camera.move)


def _direction(light: Light) -> str:
    if light.ratio <= 1:
        return "ambient"
    if light.elevation_deg >= 65:
        return "top"
    if light.elevation_deg <= -10:
        return "under"
    azimuth = (light.azimuth_deg + 180) % 360 - 180
    if abs(azimuth) < 35:
        return "front"
    return "back" if abs(azimuth) > 145 else "side_right" if azimuth > 0 else "side_left"


def _key(scene: Scene) -> str:
    level = surround_level(scene)
    return "high" if level > 0.42 else "mid" if level > 0.08 else "low"


def surround_level(scene: Scene) -> float:
    """Linear luminance of what surrounds the product in the picture, its light counted in: a picture's high or low key."""
    light, stage = scene.light, scene.stage
    if looks_down(scene.camera):
        return luminance(stage.floor) * light.exposure * floor_light(light)
    return luminance(stage.backdrop) * light.exposure * (light.backdrop + BACKDROP_FILL / light.ratio)


def looks_down(camera: Camera) -> bool:
    """The floor, and not the backdrop, fills the picture."""
    return camera.elevation_deg > 18


def floor_light(light: Light) -> float:
    """Light on the floor as a share of key plus fill: the key falls at a slant, or shines through from below."""
    slant = math.sin(math.radians(light.elevation_deg))
    return (1 - 1 / light.ratio) * (0.9 * slant if slant > 0 else 0.35) + 0.8 / light.ratio
