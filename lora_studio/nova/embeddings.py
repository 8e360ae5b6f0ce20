"""What the encoders are told besides pixels: text, motion, time, and the stand-ins for what is not known yet.

B batch, L condition tokens, T latent frames, D width. Module and parameter names are those of the published weights.
"""

import torch
from torch import Tensor, nn

from lora_studio.nova.positions import sincos

_FREQUENCY_WIDTH = 256
_MAX_TEXT_ROWS = 512


class TextEmbed(nn.Module):
    """Text-encoder rows to condition tokens.

    `weight` is a fixed random table that came with the checkpoint and is never trained: its rows fill up short texts, and
    a text without rows (the null prompt) is nothing else.
    """

    weight: Tensor

    def __init__(self, text_width: int, length: int, width: int) -> None:
        super().__init__()
        self.length = length
        self.proj = nn.Linear(text_width, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.register_buffer("weight", torch.randn(_MAX_TEXT_ROWS, text_width))

    def pad(self, text: list[Tensor]) -> Tensor:
        """Rows (n_i, D_text) -> (B, length, D_text): cut or filled up with `weight`."""
        filler = self.weight[: self.length]
        rows = [row[: self.length].to(filler) for row in text]
        return torch.stack([torch.cat([row, filler[len(row) :]]) for row in rows])

    def forward(self, text: list[Tensor]) -> Tensor:
        """Rows (n_i, D_text) -> (B, length, D)."""
        return self.norm(self.proj(self.pad(text)))


def _frequency_mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(_FREQUENCY_WIDTH, width), nn.SiLU(), nn.Linear(width, width))


class MotionEmbed(nn.Module):
    """How much moves (mean optical flow, pixels per frame) and how many frames pass per second, as two tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.flow_proj = _frequency_mlp(width)
        self.fps_proj = _frequency_mlp(width)

    def forward(self, flow: Tensor, fps: Tensor) -> Tensor:
        """Both (B,) -> (B, 2, D)."""
        dtype = next(self.parameters()).dtype
        flow_token = self.flow_proj(sincos(flow, _FREQUENCY_WIDTH).to(dtype))  # (B, D)
        fps_token = self.fps_proj(sincos(fps, _FREQUENCY_WIDTH).to(dtype))  # (B, D)
        return torch.stack([flow_token, fps_token], dim=1)


class MaskEmbed(nn.Module):
    """The token in place of the frame before the first, and the one in place of an unknown patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bos_token = nn.Parameter(torch.randn(1, width) * 0.02)
        self.mask_token = nn.Parameter(torch.randn(1, width) * 0.02)


class VideoPosEmbed(nn.Module):
    """Position in time, learned on top of sines. A clip of any length is stretched over the base length."""

    def __init__(self, base_length: int, width: int) -> None:
        super().__init__()
        self.base_length = base_length
        self.time_proj = _frequency_mlp(width)
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, frames: Tensor, num_frames: int) -> Tensor:
        """Frame indices (T,) of a clip of `num_frames` latent frames -> (T, D)."""
        positions = frames.float() * (self.base_length / num_frames)
        return self.norm(self.time_proj(sincos(positions, _FREQUENCY_WIDTH).to(self.norm.weight)))


class Mixer(nn.Module):
    """Later frames as frame 0, scaled and shifted by what they know: c_0 * (1 + s(c_t)) + b(c_t)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.lora = nn.Linear(width, rank, bias=False) if rank > 0 else nn.Identity()
        self.proj = nn.Linear(rank if rank > 0 else width, 2 * width)

    def forward(self, first: Tensor, later: Tensor) -> Tensor:
        """Both (..., D) -> (..., D)."""
        scale, shift = self.proj(self.lora(nn.functional.silu(later))).chunk(2, dim=-1)
        return first * (1 + scale) + shift
