"""Sizes of the NOVA parts, read from the names in a checkpoint's config. Plain numbers, no torch."""

import re
from dataclasses import dataclass

from lora_studio.errors import ModelError

_PUBLISHED_HEADS = {768: 12, 1024: 16, 1536: 16}  # by width; every other width has heads of 32 channels


@dataclass(frozen=True)
class StackSize:
    """Depth, width and attention heads of one stack of blocks (`heads` is 0 for an MLP)."""

    depth: int
    width: int
    heads: int


@dataclass(frozen=True)
class ClipShape:
    """What one generated or trained clip looks like.

    `num_frames` pixel frames at `fps` frames per second, `height` x `width` pixels; `latent` is (C, T, H, W).
    """

    num_frames: int
    fps: float
    height: int
    width: int
    latent: tuple[int, int, int, int]


def stack_size(name: str) -> StackSize:
    """Reads an architecture name such as `vit_d16w1024` or `mlp_d3w1280`.

    Raises:
        ModelError: the name has another form, or its width cannot be split into heads.
    """
    match = re.fullmatch(r"(vit|mlp)_d([1-9]\d{0,2})w([1-9]\d{0,4})", name)
    if match is None:
        raise ModelError(
            "arch must be names such as vit_d16w1024 or mlp_d3w1280, with a depth up to 999 and a width up to 99999, "
            f"got {name!r}"
        )
    depth, width = int(match[2]), int(match[3])
    if match[1] == "mlp":
        return StackSize(depth, width, 0)
    heads = _PUBLISHED_HEADS.get(width, width // 32)
    if heads == 0 or width % heads or width % 4:
        raise ModelError(f"arch: the width of {name!r} must be a multiple of 32, got {width}")
    return StackSize(depth, width, heads)


def image_patch(image_stride: int) -> int:
    """Side of an image patch in latent cells; a video patch is twice as wide."""
    return 15 // image_stride + 1
