"""Where the sampler's random numbers come from: seeds, or draws somebody recorded.

B samples, N patches per frame, C H W latents.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lora_studio.errors import ModelError


class NoiseSource(Protocol):
    """Random numbers in the order the sampler asks for them."""

    def order(self, num_patches: int) -> Tensor:
        """A random order of the patches for each sample, (B, N); asked for once per video."""
        ...

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """Standard normal latents of one frame, (B, C, H, W)."""
        ...


class SeededNoise:
    """Random numbers of each sample from its own seed: neighbours in a batch do not change a sample."""

    def __init__(self, seeds: Sequence[int]) -> None:
        """Begins with one seed for each sample.

        Raises:
            ModelError: there is none, or one is no whole number that torch takes.
        """
        if not len(seeds):
            raise ModelError("seeds must hold one whole number for each sample, got none")
        self._generators = [torch.Generator().manual_seed(_whole(seed)) for seed in seeds]

    def order(self, num_patches: int) -> Tensor:
        """(B, N)."""
        return torch.stack([torch.rand(num_patches, generator=g).argsort() for g in self._generators])

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """(B, C, H, W)."""
        return torch.stack([torch.randn(channels, height, width, generator=g) for g in self._generators])


def _whole(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not -(2**63) <= int(seed) < 2**64:
        raise ModelError(f"seed must be a whole number from -2**63 to 2**64 - 1, got {seed!r}: round it, or take another")
    return int(seed)
