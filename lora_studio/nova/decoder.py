"""The diffusion MLP that turns one predicted vector into one patch of latents. Each token is on its own.

M tokens, P values of one patch, D width of the image encoder, W width of this MLP.
"""

from torch import Tensor, nn
from torch.nn import functional

from lora_studio.nova.config import StackSize
from lora_studio.nova.layers import Mlp, PatchEmbed
from lora_studio.nova.positions import sincos

_FREQUENCY_WIDTH = 256


class _AdaptiveNorm(nn.Module):
    def __init__(self, width: int, num_stats: int) -> None:
        super().__init__()
        self.num_stats = num_stats
        self.proj = nn.Linear(width, num_stats * width)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        scale, shift, *gate = self.proj(context).chunk(self.num_stats, dim=-1)
        return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift, *gate


class _DecoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = _AdaptiveNorm(width, 3)
        self.proj = Mlp(width, width, width, nn.SiLU())
        self.norm2 = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        normed, gate = self.norm1(x, context)
        return x + gate * self.norm2(self.proj(normed))


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

    def forward(self, noisy: Tensor, context: Tensor) -> Tensor:
        """Noisy patches (..., M, P) and context (time + condition, (..., M, W)) -> prediction (..., M, P)."""
        context = functional.silu(context)
        x = self.patch_embed.project(noisy.to(context.dtype))  # (..., M, W)
        for block in self.blocks:
            x = block(x, context)
        return self.head(self.norm(x, context)[0])
