"""The two transformers: over frames (video encoder) and over the patches of one frame (image encoder).

B batch, R rows (B * T), S sequence, L condition tokens, N patches, D width.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lora_studio.nova.config import StackSize
from lora_studio.nova.embeddings import Mixer
from lora_studio.nova.layers import Block, KVCache, LayerKV, PatchEmbed, gather_patches, scatter_patches


class _Encoder(nn.Module):
    def __init__(self, size: StackSize, channels: int, patch: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(channels, patch, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-5)
        self.gradient_checkpointing = False  # the switch that diffusers' enable_gradient_checkpointing() looks for

    def _run(
        self,
        x: Tensor,
        blocks: Iterable[nn.Module],
        angles: Tensor | None,
        segments: tuple[int, ...],
        wanted: Tensor | None = None,
    ) -> Tensor:
        for block in blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, angles, segments, wanted, use_reentrant=False)
            else:
                x = block(x, angles, segments, wanted)
        return x


class VideoEncoder(_Encoder):
    """Reads text and the frames before; its output of frame t is all the image encoder learns of them."""

    def __init__(self, size: StackSize, channels: int, patch: int, mixer_rank: int | None) -> None:
        super().__init__(size, channels, patch)
        self.mixer = Mixer(size.width, mixer_rank) if mixer_rank is not None else None

    def forward(self, x: Tensor, segments: tuple[int, ...], angles: Tensor | None) -> Tensor:
        """(B, S, D) -> (B, S, D), all frames at once, each segment blind to later ones."""
        return self.norm(self._run(x, self.blocks, angles, segments))

    def extend(self, x: Tensor, angles: Tensor | None, cache: KVCache) -> tuple[Tensor, tuple[LayerKV, ...]]:
        """(B, S, D) -> (B, S, D) seen after the cached tokens, and the longer cache's layers."""
        layers = []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            past = cache.layers[index] if cache.layers else None
            x, layer = block.extend(x, angles, (x.shape[1],), past)
            layers.append(layer)
        return self.norm(x), tuple(layers)

    def mix(self, first: Tensor, later: Tensor) -> Tensor:
        """Condition of later frames given that of frame 0; unchanged in checkpoints without a mixer."""
        return later if self.mixer is None else self.mixer(first, later)


class ImageEncoder(_Encoder):
    """Predicts what belongs into the unknown patches of a frame, as one vector each."""

    def forward(
        self,
        known: Tensor,
        unknown: Tensor,
        condition: Tensor,
        kept_ids: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        predicted_ids: Tensor | None = None,
    ) -> Tensor:
        """Runs the first half of the blocks on the known patches alone, the second half on all.

        Args:
            known: (R, N, D) embedded patches; only those at `kept_ids` are read.
            unknown: (R, N, D) what stands in for unknown patches, position included.
            condition: (R, L, D) of the video encoder.
            kept_ids: (R, K) patches that are known.
            angles: rotary angles of [condition, kept patches] and of [condition, all patches].
            predicted_ids: (R, M) patches asked for: the last block's queries and MLP run on these alone. None asks for all.

        Returns:
            (R, M, D), or (R, N, D).
        """
        length, half = condition.shape[1], len(self.blocks) // 2
        first, second = angles if angles is not None else (None, None)
        x = torch.cat([condition, gather_patches(known, kept_ids)], dim=1)  # (R, L + K, D)
        x = self._run(x, self.blocks[:half], first, (x.shape[1],))
        patches = scatter_patches(unknown, kept_ids, x[:, length:])  # (R, N, D)
        x = torch.cat([x[:, :length], patches], dim=1)  # (R, L + N, D)
        if predicted_ids is None:
            return self.norm(self._run(x, self.blocks[half:], second, (x.shape[1],))[:, length:])
        x = self._run(x, self.blocks[half:-1], second, (x.shape[1],))
        x = self._run(x, self.blocks[-1:], second, (x.shape[1],), predicted_ids + length)  # (R, M, D)
        return self.norm(x)
