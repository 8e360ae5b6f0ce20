"""Patches, attention with an explicit cache, and the post-norm block. Knows neither video nor text.

B batch, S sequence, A heads, K head width, D width, N patches, P values of one patch (p * p * C), C H W latents.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lora_studio.errors import ModelError
from lora_studio.nova.positions import rotate

LayerKV = tuple[Tensor, Tensor]  # keys and values of one layer, (B, A, S, K) each


@dataclass(frozen=True)
class KVCache:
    """What frames seen so far left behind: keys and values of each layer, and the encoder's output of frame 0.

    Passed in and handed back, never changed: an older cache stays valid.
    """

    layers: tuple[LayerKV, ...] = ()
    first_frame: Tensor | None = None  # (B, N_video, D)

    @property
    def length(self) -> int:
        """Tokens held per sample."""
        return self.layers[0][0].shape[2] if self.layers else 0


def patchify(latents: Tensor, patch: int) -> Tensor:
    """Cuts (..., C, H, W) into patches in reading order: (..., N, p * p * C), channels fastest."""
    cut = latents.unflatten(-2, (-1, patch)).unflatten(-1, (-1, patch))  # (..., C, h, p, w, p)
    cut = cut.movedim(-5, -1).transpose(-4, -3)  # (..., h, w, p, p, C)
    return cut.flatten(-3).flatten(-3, -2)


def unpatchify(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The inverse of `patchify`; `height` and `width` are the latents' own."""
    grid = patches.unflatten(-2, (height // patch, width // patch)).unflatten(-1, (patch, patch, -1))  # (..., h, w, p, p, C)
    grid = grid.transpose(-4, -3).movedim(-1, -5)  # (..., C, h, p, w, p)
    return grid.flatten(-4, -3).flatten(-2)


def gather_patches(values: Tensor, ids: Tensor) -> Tensor:
    """Picks patches: values (..., N, D), ids (..., M) -> (..., M, D)."""
    return values.gather(-2, ids.unsqueeze(-1).expand(*ids.shape, values.shape[-1]))


def scatter_patches(values: Tensor, ids: Tensor, new: Tensor) -> Tensor:
    """A copy of `values` (..., N, D) with the patches at `ids` (..., M) replaced by `new` (..., M, D)."""
    return values.scatter(-2, ids.unsqueeze(-1).expand_as(new), new)


class PatchEmbed(nn.Module):
    """Linear projection of square patches (stored as a convolution)."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, latents: Tensor) -> Tensor:
        """(R, C, H, W) -> (R, N, D); a ModelError for any other C."""
        if latents.shape[1] != self.proj.in_channels:
            raise ModelError(
                f"latents of this checkpoint have {self.proj.in_channels} channels, got {latents.shape[1]}: "
                "encode the clip with the VAE of the same model folder"
            )
        return self.proj(latents).flatten(2).transpose(1, 2)

    def project(self, patches: Tensor) -> Tensor:
        """The same projection of patches already cut by `patchify`: (..., P) -> (..., D)."""
        weight = self.proj.weight.permute(0, 2, 3, 1).flatten(1)  # (D, P)
        return functional.linear(patches, weight, self.proj.bias)


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, in_width: int, hidden: int, out_width: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_width, hidden)
        self.fc2 = nn.Linear(hidden, out_width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_width) -> (..., out_width)."""
        return self.fc2(self.activation(self.fc1(x)))


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        angles: Tensor | None,
        segments: tuple[int, ...],
        past: LayerKV | None = None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, LayerKV]:
        """(B, S, D) -> (B, S, D) and all keys and values, those of `past` first.

        `segments` are lengths that add up to S: each token sees the past and everything up to the end of its own segment.
        With `wanted` (B, M), rows that all see everything, only those come back: (B, M, D).
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, A, S, K) each
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        if wanted is not None:
            assert len(segments) == 1, "rows can be picked where all see the same"
            q = gather_patches(q, wanted.unsqueeze(1).expand(-1, self.heads, -1))  # (B, A, M, K)
            out = functional.scaled_dot_product_attention(q, k, v)  # (B, A, M, K)
        else:
            out = _attend(q, k, v, segments)  # (B, A, S, K)
        return self.proj(out.transpose(1, 2).flatten(2)), (k, v)


def _attend(q: Tensor, k: Tensor, v: Tensor, segments: tuple[int, ...]) -> Tensor:
    if len(segments) == 1:
        return functional.scaled_dot_product_attention(q, k, v)
    assert sum(segments) == q.shape[2]
    seen, parts = k.shape[2] - q.shape[2], []
    for queries in q.split(segments, dim=2):  # no dense mask: fused kernels take every segment
        seen += queries.shape[2]
        parts.append(functional.scaled_dot_product_attention(queries, k[:, :, :seen], v[:, :, :seen]))
    return torch.cat(parts, dim=2)


class Block(nn.Module):
    """Attention and MLP, each normalised after itself and then added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = Mlp(width, 4 * width, width, nn.GELU())

    def forward(
        self, x: Tensor, angles: Tensor | None, segments: tuple[int, ...], wanted: Tensor | None = None
    ) -> Tensor:
        """(B, S, D) -> (B, S, D), or the rows `wanted` (B, M) of it."""
        attended, _ = self.attn(x, angles, segments, None, wanted)
        return self._finish(x if wanted is None else gather_patches(x, wanted), attended)

    def extend(self, x: Tensor, angles: Tensor | None, segments: tuple[int, ...], past: LayerKV | None) -> tuple[Tensor, LayerKV]:
        """`forward` that also sees `past`, and hands back the keys and values."""
        attended, layer = self.attn(x, angles, segments, past)
        return self._finish(x, attended), layer

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.norm1(attended)
        return x + self.norm2(self.mlp(x))
