"""Which clips a step sees, and how each is shown: pure functions of (seed, step). Knows the dataset's rows; no loss.

Nothing here keeps a position or a random state, so resuming needs none: step 731 is step 731. A sample's `id` is its place
in the endless stream of samples, the same however the stream is split over processes and micro-batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lora_studio.nova.vae import sample_moments
from lora_studio.recipe import DataSection
from lora_studio.training.dataset import unpack_array

Row = Mapping[str, Any]  # of `clip_features`
Caption = Literal["long", "short", "none"]
# what the prior asks, sample after sample: the sample's own words, the null prompt, and another angle and light
_PRIOR_ASKS: tuple[Literal["own", "null", "other"], ...] = ("own", "null", "own", "other")
_ORDER, _CAPTION, _POSTERIOR, DROPOUT = 1, 2, 3, 4  # what a stream of random numbers is for: keeps the streams of one seed apart


@dataclass(frozen=True)
class Sample:
    """One clip at one place in the stream of samples."""

    id: int  # place in the stream: step * batch_size + place in the batch
    row: int  # row of the training split


def samples_of_step(seed: int, step: int, batch_size: int, num_clips: int) -> list[Sample]:
    """The global batch of a step. Every epoch goes once through all clips in an order of its own.

    Args:
        step: from 0.
    """
    ids = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _epoch_order(seed, epoch, num_clips) for epoch in {i // num_clips for i in ids}}
    return [Sample(i, int(orders[i // num_clips][i % num_clips])) for i in ids]


def _epoch_order(seed: int, epoch: int, num_clips: int) -> np.ndarray:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(num_clips)


def share_of_rank(samples: Sequence[Sample], rank: int, num_processes: int, accumulation: int) -> list[list[Sample]]:
    """The micro-batches of one process: its contiguous share of the global batch, cut into `accumulation` pieces or fewer."""
    mine = np.array_split(np.arange(len(samples)), num_processes)[rank]
    pieces = [piece for piece in np.array_split(mine, accumulation) if len(piece)]
    return [[samples[int(i)] for i in piece] for piece in pieces]


def caption_of(seed: int, sample_id: int, data: DataSection) -> Caption:
    """Which caption a sample shows: none (the null prompt), short or long."""
    dropped, short = np.random.default_rng((seed, _CAPTION, sample_id)).random(2)
    if dropped < data.caption_dropout:
        return "none"
    return "short" if short < data.short_caption else "long"


@dataclass(frozen=True)
class Batch:
    """What the model is shown, before any noise.

    Attributes:
        sample_ids: what the random draws are made of.
        moments: (B, 2C, T, H, W) float32, mean and log-variance of the VAE's posterior, unscaled.
        text: B tensors (n_i, D_text) float32; no rows at all is the null prompt.
        plain_text: what the base's own answer is wanted for. Of two samples one has the same text without the trigger (the long
            caption in place of the null prompt). Of four, one has the null prompt, because guidance leads away from its answer
            and would magnify any change of it, and one asks for another angle and light, which the footage itself never does.
        motion_flow: (B,) float32.
    """

    sample_ids: list[int]
    moments: Tensor
    text: list[Tensor]
    plain_text: list[Tensor]
    motion_flow: Tensor


def decode(rows: Sequence[Row], sample_ids: Sequence[int], captions: Sequence[Caption], device: torch.device) -> Batch:
    """Rows of the dataset as tensors on a device."""
    moments = [unpack_array(row["moments"], tuple(row["moments_shape"])) for row in rows]
    kinds = ["long" if caption == "none" else caption for caption in captions]
    branded = [_text_of(row, kind).to(device) for row, kind in zip(rows, kinds, strict=True)]
    text = [features[:0] if caption == "none" else features for features, caption in zip(branded, captions, strict=True)]
    plain = [_plain_text(*sample).to(device) for sample in zip(rows, sample_ids, kinds, strict=True)]
    flow = torch.tensor([row["motion_flow"] for row in rows], dtype=torch.float32, device=device)
    clips = torch.from_numpy(np.stack(moments)).to(device)
    return Batch(list(sample_ids), clips, text, plain, flow)


def _plain_text(row: Row, sample_id: int, kind: str) -> Tensor:
    ask = _PRIOR_ASKS[sample_id % len(_PRIOR_ASKS)]
    text = _text_of(row, "plain_other" if ask == "other" else f"plain_{kind}")
    return text[:0] if ask == "null" else text


def _text_of(row: Row, kind: str) -> Tensor:
    return torch.from_numpy(unpack_array(row[f"text_{kind}"], (row[f"rows_{kind}"], -1)))  # (n, D_text)


def posterior_samples(moments: Tensor, seed: int, sample_ids: Sequence[int]) -> Tensor:
    """One draw from the VAE's posterior per clip: moments (B, 2C, T, H, W) -> latents (B, C, T, H, W), unscaled."""
    batch, channels, *size = moments.shape
    generators = [torch.Generator().manual_seed(seed_of(seed, _POSTERIOR, sample_id)) for sample_id in sample_ids]
    assert len(generators) == batch
    noise = torch.stack([torch.randn(channels // 2, *size, generator=generator) for generator in generators])
    return sample_moments(moments, noise.to(moments.device))


def seed_of(*key: int) -> int:
    """A 63-bit seed for a torch generator: a good mixture of small numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
