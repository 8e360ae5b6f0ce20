"""The optimizer and its schedule. Knows adapter parameters and the recipe's [optim] table; no data, no loss."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from lora_studio.recipe import OptimSection


def build_optimizer(parameters: Mapping[str, nn.Parameter], section: OptimSection) -> torch.optim.AdamW:
    """Fused AdamW over the adapter's matrices (an adapter has no biases, so all of it decays)."""
    values = list(parameters.values())
    return torch.optim.AdamW(values, lr=section.lr, betas=section.betas, weight_decay=section.weight_decay, fused=True)


def learning_rate(step: int, num_steps: int, section: OptimSection) -> float:
    """The rate of a step: a linear warm-up, then half a cosine down to a tenth (or the constant rate).

    Args:
        step: from 0; a pure function of it, so a resumed run needs no schedule state.
    """
    if step < section.warmup_steps:
        return section.lr * (step + 1) / section.warmup_steps
    if section.schedule == "constant":
        return section.lr
    done = (step - section.warmup_steps) / max(1, num_steps - section.warmup_steps)
    return section.lr * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0))))


def set_learning_rate_(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
