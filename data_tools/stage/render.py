"""Turns a scene into frames: a camera, rays, paint, and light in linear colour, then sRGB. Knows no file and no brand.

Vectorised over the pixels of one frame; what does not change within a shot (shadows on the floor) is computed once.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data_tools.stage.colours import linear_rgb, luminance
from data_tools.stage.field import Field, build_field, light_visible, march, unit
from data_tools.stage.lighting import (
    Patch,
    bake_key_shadow,
    bake_occlusion,
    direction,
    fillet_radius,
    key_and_fill,
    key_direction,
    light_colour,
)
from data_tools.stage.paint import product_paint
from data_tools.stage.scene import Camera, Scene, centre_height, visible_height

SWAY_HZ = (0.4, 0.9, 1.7, 2.9)


@dataclass(frozen=True)
class Lit:
    """What is known of the light once for a whole shot."""

    toward: Tensor  # (3, 1) to the key light
    key: Tensor  # (3, 1) linear colour times strength
    fill: Tensor  # (3, 1)
    shadow: Patch | None
    occlusion: Patch


def render(scene: Scene, height: int, width: int, num_frames: int, fps: float, device: torch.device | str = "cpu") -> np.ndarray:
    """Renders one shot.

    Returns:
        uint8 sRGB frames (F, H, W, 3). Equal scenes give equal bytes on one machine.
    """
    lit = light_scene(scene, device)
    frames = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    for index in range(num_frames):
        time_s = (index - (num_frames - 1) / 2) / fps
        frames[index] = _develop(_frame(scene, lit, height, width, time_s, device), height, width)
    return frames


def product_cover(scene: Scene, height: int, width: int, num_frames: int, fps: float) -> np.ndarray:
    """How much of each pixel the product covers, (F, H, W) in [0, 1]; what the plinth hides of it does not count."""
    covers = np.zeros((num_frames, height * width), dtype=np.float32)
    for index in range(num_frames):
        time_s = (index - (num_frames - 1) / 2) / fps
        field = build_field(scene, time_s, "cpu")
        origin, heading, pixel = rays(scene, height, width, time_s, "cpu")
        hits, distance, cover = march(field, origin, heading, pixel)
        if len(hits):
            point = origin + heading.index_select(1, hits) * distance
            is_product = field.product_distance(point) <= field.plinth_distance(point) if scene.stage.plinth_height_dm > 0 else 1.0
            covers[index, hits.numpy()] = (cover * is_product).numpy()
    return covers.reshape(num_frames, height, width)


def light_scene(scene: Scene, device: torch.device | str = "cpu") -> Lit:
    """Sets the light and bakes the shadows for the product as it stands mid-shot."""
    field, light = build_field(scene, 0.0, device), scene.light
    key, fill = (strength * light.exposure for strength in key_and_fill(light))
    colour = torch.tensor(light_colour(light.temperature_k), device=device)[:, None]
    throws_shadow = light.ratio > 1 and light.elevation_deg > 0
    return Lit(key_direction(scene)[:, None].to(device), colour * key, colour * fill,
               bake_key_shadow(field) if throws_shadow else None, bake_occlusion(field))


def _frame(scene: Scene, lit: Lit, height: int, width: int, time_s: float, device: torch.device | str) -> Tensor:
    """Linear light (3, H*W) of one frame."""
    field = build_field(scene, time_s, device)
    origin, heading, pixel = rays(scene, height, width, time_s, device)
    picture, reached = _surroundings(scene, lit, origin, heading)
    if scene.stage.gloss > 0 and scene.stage.plinth_height_dm == 0:
        _mirror_(picture, field, lit, origin, heading, reached, pixel)
    hits, distance, cover = march(field, origin, heading, pixel)
    if len(hits):
        solid = _solid(field, lit, origin, heading.index_select(1, hits), distance, pixel)
        picture[:, hits] = torch.lerp(picture[:, hits], solid, cover)
    return picture


def rays(scene: Scene, height: int, width: int, time_s: float, device: torch.device | str) -> tuple[Tensor, Tensor, float]:
    """The camera at a moment: origin (3, 1), unit directions (3, H*W), and a pixel's footprint at distance 1."""
    camera = scene.camera
    pose = _moved(camera, time_s)
    azimuth = math.radians(pose.azimuth)
    back = direction(pose.azimuth, pose.elevation)
    right = torch.tensor([math.cos(azimuth), 0.0, -math.sin(azimuth)])
    up = torch.linalg.cross(back, right)
    target = torch.tensor([0.0, centre_height(scene), 0.0])
    origin = (target + pose.distance * back)[:, None].to(device)
    focal = 1 / math.tan(math.radians(camera.fov_deg) / 2)
    aspect = width / height
    rows = (1 - (torch.arange(height) + 0.5) * (2 / height)) - 2 * camera.shift_y
    columns = ((torch.arange(width) + 0.5) * (2 / width) - 1) * aspect - 2 * aspect * camera.shift_x
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    x, y = _rotate(x.flatten(), y.flatten(), math.radians(pose.roll))
    plane = torch.stack([x, y, torch.full_like(x, -focal)])
    plane = _turn(math.radians(pose.yaw), math.radians(pose.pitch)) @ plane
    heading = torch.stack([right, up, back], dim=1) @ plane
    return origin, unit(heading).to(device), 2 / (height * focal)


@dataclass(frozen=True)
class _Pose:
    """Where the camera is and how it is turned at a moment, in degrees and decimetres."""

    azimuth: float
    elevation: float
    distance: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


def _moved(camera: Camera, time_s: float) -> _Pose:
    pose = _Pose(camera.azimuth_deg, camera.elevation_deg, camera.distance_dm, roll=camera.roll_deg)
    travelled = camera.rate * time_s
    if camera.move == "pan":
        return replace(pose, yaw=travelled)
    if camera.move == "tilt":
        return replace(pose, pitch=travelled)
    if camera.move == "arc":
        return replace(pose, azimuth=pose.azimuth + travelled)
    if camera.move == "dolly":
        return replace(pose, distance=pose.distance * math.exp(-travelled))
    if camera.move == "handheld":
        yaw, pitch, roll = _sway(camera, time_s)
        return replace(pose, yaw=yaw, pitch=pitch, roll=pose.roll + 0.5 * roll)
    return pose


def _sway(camera: Camera, time_s: float) -> list[float]:
    """Three independent swings in degrees, each of four sines, `camera.rate` RMS."""
    phases = np.random.default_rng(camera.sway_seed).uniform(0, 2 * math.pi, (3, len(SWAY_HZ)))
    waves = np.sin(2 * math.pi * np.array(SWAY_HZ) * time_s + phases)
    return [float(swing) for swing in camera.rate * waves.sum(1) / math.sqrt(len(SWAY_HZ) / 2)]


def _turn(yaw: float, pitch: float) -> Tensor:
    """Rotation of the camera's own frame: yaw to the right, then pitch upwards."""
    sine, cosine = math.sin(yaw), math.cos(yaw)
    sine_p, cosine_p = math.sin(pitch), math.cos(pitch)
    turned = torch.tensor([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
    return turned @ torch.tensor([[1.0, 0.0, 0.0], [0.0, cosine_p, -sine_p], [0.0, sine_p, cosine_p]])


def _rotate(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _surroundings(scene: Scene, lit: Lit, origin: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
    """Floor, curve and backdrop: linear light (3, P), and the distance at which each ray meets the level floor (P,)."""
    stage, fillet = scene.stage, fillet_radius(scene)
    end = stage.wall_dm - fillet
    _, dy, dz = heading
    floor = torch.where(dy < -1e-4, -origin[1] / dy.clamp(max=-1e-4), 1e4).clamp(max=60.0)
    wall = torch.where(dz < -1e-4, (-stage.wall_dm - origin[2]) / dz.clamp(max=-1e-4), 1e4).clamp(0, 60.0)
    oy, oz = origin[1] - fillet, origin[2] + end  # around the curve's axis
    half, square = oy * dy + oz * dz, dy * dy + dz * dz
    bend = (-half + (half * half - square * (oy * oy + oz * oz - fillet * fillet)).clamp(min=0).sqrt()) / square.clamp(min=1e-6)
    on_floor = origin[2] + floor * dz > -end
    on_wall = origin[1] + wall * dy > fillet
    at = torch.where(on_floor, floor, torch.where(on_wall, wall, bend.clamp(0, 60)))
    point = origin + at * heading
    turn = torch.where(on_floor, 0.0, torch.where(on_wall, math.pi / 2, torch.asin(((-end - point[2]) / fillet).clamp(0, 1))))
    v = torch.where(on_floor, point[2], -end - fillet * turn - torch.where(on_wall, point[1] - fillet, 0.0))
    return _lit_surroundings(scene, lit, point, turn, v), torch.where(on_floor, at, 1e4)


def _lit_surroundings(scene: Scene, lit: Lit, point: Tensor, turn: Tensor, v: Tensor) -> Tensor:
    stage, light = scene.stage, scene.light
    x, y, z = point
    up, out = torch.cos(turn), torch.sin(turn)
    tight = min(1.0, (3.0 / visible_height(scene)) ** 2)  # lamps are set for the framing: the wider, the larger their pools
    pool = 1 / (1 + (x * x + z * z) * (0.03 * tight))
    key = (lit.toward[1] * up + lit.toward[2] * out).clamp(min=0) * pool
    if lit.shadow is not None:
        key = key * lit.shadow.at(x, v)
    if light.elevation_deg < 0:  # a light table: the floor itself glows around the product
        key = up * 0.55 * torch.exp(-(x * x + z * z) * (0.5 * tight))
    sky = 0.25 + 0.75 * lit.occlusion.at(x, v)
    fill = (0.62 + 0.2 * up) * sky * (0.55 + 0.45 * pool)
    height = centre_height(scene)
    glow = light.backdrop * light.exposure * torch.exp(-tight * (x * x * 0.12 + (y - height - 0.1).square() * 0.2))
    spill = 0.8 * luminance(stage.backdrop) * up * sky * torch.exp((-stage.wall_dm - z) * (0.3 * tight))  # back from the wall
    corner = 1 - 0.45 * (2 * up * out) if stage.style == "table" else 1.0  # where table and wall meet, light has no way in
    white = lit.key + lit.fill
    return _surface(scene, x, y, z, out) * (corner * (lit.key * key + lit.fill * fill + white * glow * (out + spill)))


def _surface(scene: Scene, x: Tensor, y: Tensor, z: Tensor, out: Tensor) -> Tensor:
    """Reflectance (3, P) of floor and backdrop: `out` goes from 0 on the floor to 1 on the wall."""
    stage = scene.stage
    floor, wall = (torch.tensor(linear_rgb(c), device=x.device)[:, None] for c in (stage.floor, stage.backdrop))
    colour = torch.lerp(floor, wall, out * out * (3 - 2 * out))
    if stage.style == "slats":
        ridge = (torch.cos(x * (2 * math.pi / 0.42)) * 6).clamp(-1, 1)
        colour = colour * (1 - 0.13 * (1 - ridge) * (out > 0.999))
    elif stage.style == "disc":
        accent = torch.tensor(linear_rgb(stage.accent), device=x.device)[:, None]
        rim = torch.hypot(x, y - stage.accent_height_dm) - 1.0
        colour = torch.lerp(colour, accent, (0.5 - rim * 40).clamp(0, 1) * (out > 0.9))
    return colour


def _solid(field: Field, lit: Lit, origin: Tensor, heading: Tensor, distance: Tensor, pixel: float, quick: bool = False) -> Tensor:
    """Linear light (3, Q) of product and plinth at the given distances along rays."""
    scene = field.scene
    point = origin + heading * distance
    normal = field.normal(point)
    colour, gloss = product_paint(scene.product, field.to_product(point), pixel * distance)
    if scene.stage.plinth_height_dm > 0:
        is_plinth = (field.plinth_distance(point) < field.product_distance(point)).float()
        plinth = torch.tensor(linear_rgb(scene.stage.plinth), device=colour.device)[:, None]
        colour, gloss = torch.lerp(colour, plinth, is_plinth), torch.lerp(gloss, torch.full_like(gloss, 0.1), is_plinth)
    facing = (normal * lit.toward).sum(0)
    wrap = 0.6 * math.sin(math.radians(min(scene.light.radius_deg, 60.0)))  # a large source reaches round the terminator
    lambert = ((facing + wrap) / (1 + wrap)).clamp(min=0)
    if not quick and lit.shadow is not None:
        lambert = lambert * _own_shadow(field, lit, point, normal, lambert)
    near = (field.distance(point + 0.16 * normal) / 0.16).clamp(0, 1)
    diffuse = lit.key * lambert + lit.fill * _ambient(scene, lit, point, normal, near)
    return colour * diffuse + _sheen(scene, lit, normal, heading, gloss, near)


def _own_shadow(field: Field, lit: Lit, point: Tensor, normal: Tensor, lambert: Tensor) -> Tensor:
    """The share of the key light that the solid leaves to each of its own points (Q,); looked up only where light falls."""
    spread = max(math.tan(math.radians(field.scene.light.radius_deg)), 0.03)
    bright = torch.nonzero(lambert > 0.01)[:, 0]
    visible = torch.ones_like(lambert)
    start = point.index_select(1, bright) + 0.025 * normal.index_select(1, bright)
    visible[bright] = light_visible(field, start, lit.toward, spread, steps=10)
    return visible


def _ambient(scene: Scene, lit: Lit, point: Tensor, normal: Tensor, near: Tensor) -> Tensor:
    """Fill from above and from the camera's side, and light thrown back by the floor; white where 1. (3, Q)."""
    floor = torch.tensor(linear_rgb(scene.stage.floor), device=point.device)[:, None]
    toward_camera = direction(scene.camera.azimuth_deg, 25.0)[:, None].to(point.device)
    sky = 0.55 + 0.2 * normal[1] + 0.3 * (normal * toward_camera).sum(0)
    bounce = floor * (0.5 - 0.5 * normal[1]) * (0.5 / (0.5 + point[1].clamp(min=0)))
    bright = 1 + 1.6 * (scene.light.ratio - 1) * lit.toward[1].clamp(min=0)  # the floor also throws back the key
    return (sky.clamp(min=0.1) + 0.35 * bounce * bright) * (0.3 + 0.7 * near)


def _sheen(scene: Scene, lit: Lit, normal: Tensor, heading: Tensor, gloss: Tensor, near: Tensor) -> Tensor:
    """Reflections: the light source itself, the room at grazing angles, and the bright rim of a light from behind. (3, Q)."""
    facing = (normal * heading).sum(0)
    mirrored = heading - 2 * facing * normal
    graze = (1 + facing).clamp(0, 1)
    fresnel = 0.04 + 0.5 * graze**4
    source = _source_image(scene, lit, mirrored, gloss)
    behind = (heading * lit.toward).sum(0).clamp(min=0)
    rim = 1.2 * graze**3 * behind * (0.35 + (normal * lit.toward).sum(0)).clamp(0, 1)
    wall = torch.tensor(linear_rgb(scene.stage.backdrop), device=normal.device)[:, None]
    level = scene.light.exposure * (scene.light.backdrop + 0.5 / scene.light.ratio)
    room = wall * level + 0.5 * lit.fill * (mirrored[1] * 2).clamp(0, 1)
    return lit.key * (gloss * fresnel * source + (0.3 + 0.7 * gloss) * rim) + gloss * fresnel * room * near


def _source_image(scene: Scene, lit: Lit, mirrored: Tensor, gloss: Tensor) -> Tensor:
    """Brightness (Q,) of the key light's mirror image: a small lamp, or an upright softbox that reaches down to the table."""
    radius = math.radians(scene.light.radius_deg)
    elevation = math.asin(float(lit.toward[1]))
    tall = 2.0 * radius  # how far the softbox reaches below and above its centre
    x, _, z = lit.toward[:, 0] / max(math.cos(elevation), 1e-3)
    height = torch.asin(mirrored[1].clamp(-1, 1)).clamp(elevation - tall, elevation + 0.5 * tall)
    angle = torch.acos((torch.cos(height) * (mirrored[0] * x + mirrored[2] * z) + torch.sin(height) * mirrored[1]).clamp(-1, 1))
    edge = 0.04 + 0.1 * (1 - gloss)
    return torch.sigmoid((0.55 * radius + 0.05 - angle) / edge) * (9.0 / (1 + 10 * radius))


def _mirror_(picture: Tensor, field: Field, lit: Lit, origin: Tensor, heading: Tensor, reached: Tensor, pixel: float) -> None:
    """Adds the product's mirror image in a glossy floor, fading with height."""
    mirror = torch.tensor([[1.0], [-1.0], [1.0]], device=heading.device)
    hits, distance, cover = march(field, origin * mirror, heading * mirror, pixel, steps=18)
    below = reached[hits] < distance
    hits, distance, cover = hits[below], distance[below], cover[below]
    if len(hits):
        solid = _solid(field, lit, origin * mirror, heading.index_select(1, hits) * mirror, distance, pixel, quick=True)
        height = (origin * mirror + heading.index_select(1, hits) * mirror * distance)[1].clamp(min=0)
        picture[:, hits] = torch.lerp(picture[:, hits], solid, cover * field.scene.stage.gloss * torch.exp(-2.2 * height))


def _develop(picture: Tensor, height: int, width: int) -> np.ndarray:
    """Linear light to sRGB bytes: a shoulder above 0.7, a light vignette, the sRGB curve, and a fixed dither against bands."""
    bright = (picture - 0.7).clamp(min=0)
    picture = picture.clamp(0, 0.7) + bright / (1 + bright / 0.3)
    y = torch.linspace(-1, 1, height, device=picture.device)[:, None]
    x = torch.linspace(-1, 1, width, device=picture.device)
    picture = picture.unflatten(1, (height, width)) * (1 - 0.09 * (x * x + y * y))
    encoded = torch.where(picture <= 0.0031308, picture * 12.92, 1.055 * picture.clamp(min=1e-6) ** (1 / 2.4) - 0.055)
    rows, columns = torch.arange(height, device=picture.device)[:, None], torch.arange(width, device=picture.device)
    dither = ((rows * 0.56984029 + columns * 0.75487767) % 1.0) - 0.5  # additive recurrence: even, and the same in every frame
    return (encoded * 255 + 0.5 + dither).clamp(0, 255).to(torch.uint8).movedim(0, -1).cpu().numpy()
