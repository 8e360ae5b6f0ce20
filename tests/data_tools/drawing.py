"""Footage drawn by the tests: textures that the camera may follow, in known colours, cut at known frames."""

from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from lora_studio.brand import Brand
from lora_studio.records import Rights
from lora_studio.video import write_video

CLEARED = Rights(owner="Acme", licence="owned", ai_training=True)
BRAND = Brand(name="Acme", trigger="acmelook", subject="a red bottle", palette=("#D7263D",), rights=CLEARED)
FPS = 24
HEIGHT, WIDTH = 96, 160


def texture(seed: int, size: int = 400) -> np.ndarray:
    """A grey picture full of corners, (size, size) float, 0..1."""
    grain = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 2)
    return np.clip(0.5 + grain / grain.std() * 0.2, 0, 1)


def move(
    picture: np.ndarray,
    num_frames: int,
    right: float = 0.0,
    down: float = 0.0,
    zoom: float = 0.0,
    turn: float = 0.0,
    fps: float = FPS,
    height: int = HEIGHT,
    width: int = WIDTH,
) -> np.ndarray:
    """Frames (F, H, W, 3) of a picture that moves right and down (% of a side per s), grows (%/s) and turns (degrees/s)."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    middle = np.array(picture.shape) / 2
    for index in range(num_frames):
        time_s = index / fps
        angle, scale = np.radians(turn * time_s), np.exp(-zoom / 100 * time_s)
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([down / 100 * height, right / 100 * width]) * time_s
        offset = middle - matrix @ (np.array([height, width]) / 2 + shift)
        grey = affine_transform(picture, matrix, offset, (height, width), order=1)
        frames[index] = (grey * 255).round().astype(np.uint8)[..., None]
    return frames


def tinted(frames: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Frames with each channel scaled."""
    return np.clip(frames * np.array(colour), 0, 255).round().astype(np.uint8)


def cut_film(path: Path, lengths: tuple[int, ...] = (30, 40), seed: int = 0) -> None:
    """Writes a film of one still texture per length, in colours far apart; cuts are where the lengths say."""
    colours = [(1.0, 0.4, 0.3), (0.3, 0.6, 1.0), (0.5, 1.0, 0.4), (1.0, 1.0, 0.9)]
    parts = [
        tinted(move(texture(seed + index), length, right=2), colours[(seed + index) % 4]) for index, length in enumerate(lengths)
    ]
    write_video(path, np.concatenate(parts), FPS)
