"""The diffusion MLP that turns one predicted vector into one patch of latents. Each token is on its own.

M tokens, P values of one patch, D width of the image encoder, W width of this MLP.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from lora_studio.nova.config import StackSize
from lora_studio.nova.layers import Mlp, PatchEmbed
from lora_studio.nova.positions import sincos

Modulation = tuple[tuple[Tensor, ...], ...]  # statistics of each block's norm, then of the last norm

_FREQUENCY_WIDTH = 256


class _AdaptiveNorm(nn.Module):
    """Normalises, then scales and shifts by what a context says; a third statistic gates what follows."""

    def __init__(self, width: int, num_stats: int) -> None:
        super().__init__()
        self.num_stats = num_stats
        self.proj = nn.Linear(width, num_stats * width)

    def statistics(self, context: Tensor) -> tuple[Tensor, ...]:
        """(..., W) -> 1 + scale, shift and, if there is one, gate, (..., W) each."""
        scale, *rest = self.proj(context).chunk(self.num_stats, dim=-1)
        return scale + 1, *rest

    def forward(self, x: Tensor, statistics: tuple[Tensor, ...]) -> Tensor:
        return torch.addcmul(statistics[1], functional.layer_norm(x, x.shape[-1:], eps=1e-6), statistics[0])


class _DecoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = _AdaptiveNorm(width, 3)
        self.proj = Mlp(width, width, width, nn.SiLU())
        self.norm2 = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor, statistics: tuple[Tensor, ...]) -> Tensor:
        return torch.addcmul(x, statistics[2], self.norm2(self.proj(self.norm1(x, statistics))))


class _TimeConditionEmbed(nn.Module):
    def __init__(self, condition_width: int, width: int) -> None:
        super().__init__()
        self.timestep_proj = Mlp(_FREQUENCY_WIDTH, width, width, nn.SiLU())
        self.condition_proj = Mlp(condition_width, width, width, nn.SiLU())


class ImageDecoder(nn.Module):
    """Predicts noise or velocity of patches."""

    def __init__(self, size: StackSize, channels: int, patch: int, condition_width: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(channels, patch, size.width)
        self.time_cond_embed = _TimeConditionEmbed(condition_width, size.width)
        self.blocks = nn.ModuleList(_DecoderBlock(size.width) for _ in range(size.depth))
        self.norm = _AdaptiveNorm(size.width, 2)
        self.head = nn.Linear(size.width, patch * patch * channels)

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """Timesteps (...) from 0 to 1000 -> (..., W)."""
        sin, cos = sincos(timesteps, _FREQUENCY_WIDTH).chunk(2, dim=-1)
        frequencies = functional.pad(cos, (0, _FREQUENCY_WIDTH // 2)) + functional.pad(sin, (_FREQUENCY_WIDTH // 2, 0))
        return self.time_cond_embed.timestep_proj(frequencies.to(self.head.weight.dtype))

    def embed_condition(self, z: Tensor) -> Tensor:
        """Vectors of the image encoder (..., D) -> (..., W); the same for every timestep."""
        return self.time_cond_embed.condition_proj(z)

    def modulate(self, context: Tensor) -> Modulation:
        """What a context does to each layer: (..., M, W), time + condition -> the statistics of every norm.

        It does not depend on the noisy patches, so a sampler works it out for many timesteps at once.
        """
        context = functional.silu(context)
        return (*(block.norm1.statistics(context) for block in self._blocks()), self.norm.statistics(context))

    def forward(self, noisy: Tensor, modulation: Modulation) -> Tensor:
        """Noisy patches (..., M, P) and what `modulate` said of their context -> prediction (..., M, P)."""
        x = self.patch_embed.project(noisy.to(self.head.weight.dtype))  # (..., M, W)
        for block, statistics in zip(self.blocks, modulation, strict=False):
            x = block(x, statistics)
        return self.head(self.norm(x, modulation[-1]))

    def _blocks(self) -> Iterator[_DecoderBlock]:
        for block in self.blocks:
            assert isinstance(block, _DecoderBlock)
            yield block
