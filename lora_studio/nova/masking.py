"""Which patches are predicted when. Pure functions of orders drawn elsewhere.

B batch, T latent frames, N patches per frame, M patches predicted, K patches kept.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LOW, _MEAN, _SPREAD = -1.2, 1.0, 0.25  # of the masking ratio: a normal around 1, cut at 1 and 1.2 spreads below


@dataclass(frozen=True)
class Round:
    """One set of patches: what is known before it, and what it adds."""

    kept_ids: Tensor  # (B, K)
    predicted_ids: Tensor  # (B, M)


def mask_ratio(uniform: float) -> float:
    """Share of patches hidden in training, 0.7 to 1, from a uniform draw: a truncated normal by its inverse CDF."""
    low, high = torch.special.ndtr(torch.tensor([_LOW, 0.0], dtype=torch.float64))
    return _MEAN + _SPREAD * float(torch.special.ndtri(low + uniform * (high - low)))


def split_order(order: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Kept and predicted patches of a random order: (..., N) -> (..., K) and (..., M), M about ratio * N and at least 1."""
    num_patches = order.shape[-1]
    num_kept = min(round((1.0 - ratio) * num_patches), num_patches - 1)
    return order[..., :num_kept], order[..., num_kept:]


def generation_rounds(order: Tensor, num_steps: int) -> list[Round]:
    """Splits an order (B, N) into sets that grow as a cosine falls: few patches first, many last.

    Sets that would be empty are left out, so there may be fewer than `num_steps`.
    """
    num_patches = order.shape[-1]
    left = [round(math.cos(math.pi / 2 * step / num_steps) * num_patches) for step in range(num_steps + 1)]
    known = [num_patches - count for count in left]
    return [Round(order[:, :a], order[:, a:b]) for a, b in itertools.pairwise(known) if b > a]
