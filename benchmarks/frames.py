"""Frames as the networks of the learning proof look at them, and how renders are worn before these learn from them.

B frames, H W pixels (64 x 96 inside).
"""

import random
import sys
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lora_studio.errors import TrainingError
from lora_studio.files import write_json
from lora_studio.nano.build import write_weights
from lora_studio.nano.lessons import Lessons

RESULTS: Final = Path(__file__).parent / "results"
N = TypeVar("N", bound=nn.Module)
HELD_BACK: Final = 1024  # the last so many stills are for measuring what was trained on the others
SCALES: Final = ("medium", "medium_wide", "medium_close_up")  # where a shape can be told and all of it is in the picture
SMALL_SHARE: Final = 0.15  # of the lessons whose product is a dot or has no outline


def trained(weights: Path) -> Path:
    """The weights of a network of the proof.

    Raises:
        SystemExit: it was not trained yet.
    """
    if not weights.is_file():
        raise SystemExit(f"{weights} is missing: make it with `python benchmarks/{weights.stem}.py --lessons FOLDER --publish`")
    return weights


def load_trained(network: N, weights: Path) -> N:
    """The network with its weights in place, for answers; ends as `trained` does."""
    network.load_state_dict({name: value.float() for name, value in load_file(trained(weights)).items()})
    return network.eval()


def write_trained(weights: Path, network: nn.Module, told: dict[str, Any]) -> None:
    """Writes a network, and beside it what is told of it; prints both."""
    write_weights(weights, network.state_dict())
    write_json(weights.with_suffix(".json"), told)
    sys.stdout.write(f"{weights}: {told}\n")


def usable_stills(folder: Path) -> Lessons:
    """The stills of a folder of lessons, more than are held back.

    Raises:
        TrainingError: there are too few.
    """
    stills = Lessons(folder, "stills")
    if len(stills) <= HELD_BACK:
        raise TrainingError(f"{folder} has {len(stills)} stills, {HELD_BACK} are held back: render more with `data-tools lessons`")
    return stills


def prepare(frames: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> what the judge looks at, (B, 3, 64, 96)."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 127.5 - 1
    return functional.interpolate(pixels, (64, 96), mode="bilinear", antialias=True)


def moved(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W), each resized by up to a sixth and moved by up to a tenth of the picture; edges go on."""
    zoom, across, down = torch.rand(3, len(pixels), generator=generator) * 2 - 1
    matrices = torch.zeros(len(pixels), 2, 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1 + zoom / 6
    matrices[:, 0, 2], matrices[:, 1, 2] = across / 5, down / 5  # a picture is 2 wide
    grid = functional.affine_grid(matrices, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def softened(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, 64, 96), three of five with an outline that wavers and parts out of focus, as the frames of a small model are."""
    number, size = len(pixels), pixels.shape[-2:]
    chosen = torch.rand(number, 1, 1, 1, generator=generator) < 0.6
    slow, fast, blur = torch.rand(3, number, 1, 1, 1, generator=generator)
    shifts = 0.06 * slow * _waves(number, 2, 4, generator) + 0.03 * fast * _waves(number, 2, 9, generator)
    still = functional.affine_grid(torch.eye(2, 3).repeat(number, 1, 1), list(pixels.shape), align_corners=False)
    bent = functional.grid_sample(pixels, still + shifts.movedim(1, -1), padding_mode="border", align_corners=False)
    small = functional.interpolate(bent, scale_factor=0.25, mode="bilinear", antialias=True)
    where = blur * torch.sigmoid(3 * _waves(number, 1, 6, generator))
    return torch.where(chosen, bent.lerp(functional.interpolate(small, size, mode="bilinear"), where), pixels)


def _waves(number: int, channels: int, cells: int, generator: torch.Generator) -> Tensor:
    """(number, channels, 64, 96) smooth noise of about unit variance, `cells` waves high and wide."""
    return functional.interpolate(torch.randn(number, channels, cells, cells, generator=generator), (64, 96), mode="bicubic")


def worn(pixels: Tensor, chance: random.Random, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) with brightness and noise a little off, half of the batches blurred as well."""
    if chance.random() < 0.5:
        smaller = functional.interpolate(pixels, scale_factor=chance.uniform(0.25, 0.8), mode="bilinear", antialias=True)
        pixels = functional.interpolate(smaller, pixels.shape[-2:], mode="bilinear")
    return pixels * chance.uniform(0.93, 1.05) + 0.03 * torch.randn(pixels.shape, generator=generator)
