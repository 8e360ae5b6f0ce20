"""Where the sampler's random numbers come from: seeds, or draws somebody recorded.

B samples, N patches per frame, C H W latents.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


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
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def order(self, num_patches: int) -> Tensor:
        """(B, N)."""
        return torch.stack([torch.rand(num_patches, generator=g).argsort() for g in self._generators])

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """(B, C, H, W)."""
        return torch.stack([torch.randn(channels, height, width, generator=g) for g in self._generators])
