"""What training minimises: hide patches, noise them, predict, compare. A pure function of its arguments.

Every random number is in `Draws`, and `draw` makes them from (seed, step, sample id) alone. So a sample sees the same
masks and noise however samples are batched or spread over processes. Knows no optimizer, no file and no adapter.

B batch, C T H W latents, N patches per frame, M patches predicted, P values of a patch, G noise draws per clip.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lora_studio.nova.layers import gather_patches, patchify
from lora_studio.nova.masking import mask_ratio, split_order
from lora_studio.nova.schedules import Schedule


@dataclass(frozen=True)
class Draws:
    """All randomness of one batch, on the CPU.

    Attributes:
        ratio: share of patches hidden, the same for the whole step.
        order: (B, T, N) patches in random order; the first ones stay visible.
        noise: (G, B, T, N, P) standard normal.
        time: (G, B, T, N) standard normal; the schedule turns it into timesteps.
    """

    ratio: float
    order: Tensor
    noise: Tensor
    time: Tensor


@dataclass(frozen=True)
class Losses:
    """The loss to descend, and the mean squared error of each latent frame.

    `total` gives the first frame (text to image) as much weight as all later ones (image to video) together; it is about
    twice a mean. With a single frame it is that frame's loss.
    """

    total: Tensor  # ()
    per_frame: Tensor  # (T,), detached


def draw(
    seed: int, step: int, sample_ids: Sequence[int], shape: tuple[int, ...], num_patches: int, loss_repeat: int
) -> Draws:
    """Draws everything for one batch.

    Args:
        seed: of the run.
        step: the optimizer step: the masking ratio depends on it and the seed only.
        sample_ids: one per sample; all else depends on seed, step and this.
        shape: (B, C, T, H, W) of the latents.
        num_patches: patches per frame.
        loss_repeat: noise draws per clip.
    """
    _, channels, num_frames, height, width = shape
    values = channels * height * width // num_patches
    uniform = float(torch.rand((), generator=_generator(seed, step), dtype=torch.float64))
    orders, noises, times = [], [], []
    for sample_id in sample_ids:
        generator = _generator(seed, step, sample_id)
        orders.append(torch.rand(num_frames, num_patches, generator=generator).argsort(-1))
        noises.append(torch.randn(loss_repeat, num_frames, num_patches, values, generator=generator))
        times.append(torch.randn(loss_repeat, num_frames, num_patches, generator=generator))
    return Draws(mask_ratio(uniform), torch.stack(orders), torch.stack(noises, dim=1), torch.stack(times, dim=1))


def training_loss(
    transformer: nn.Module,
    scheduler: Schedule,
    latents: Tensor,
    text: list[Tensor],
    motion_flow: Tensor | None,
    draws: Draws,
    teacher: Callable[..., Tensor] | None = None,
    shown: Tensor | None = None,
    weights: Tensor | None = None,
) -> Losses:
    """The loss of one batch.

    Args:
        transformer: a NOVA transformer, bare or wrapped for several devices.
        scheduler: the checkpoint's noise schedule.
        latents: (B, C, T, H, W), scaled.
        text: B tensors (n_i, D_text); one without rows is the null prompt.
        motion_flow: (B,), or None for no motion tokens.
        draws: of these samples.
        teacher: called as the transformer is; if there is one, the target is what it predicts, and not the clip.
        shown: (B, C, T, H, W), what the transformer sees in place of `latents`, which stay the target.
        weights: (B, T, N), how much each patch's error counts beside the others of its frame; all the same if None.
    """
    shown = latents if shown is None else shown
    patch = math.isqrt(draws.noise.shape[-1] // latents.shape[1])
    kept_ids, predicted_ids = split_order(draws.order.to(latents.device), draws.ratio)  # (B, T, K), (B, T, M)
    clean = gather_patches(patchify(latents.transpose(1, 2), patch), predicted_ids)  # (B, T, M, P)
    again = predicted_ids.expand(len(draws.noise), *predicted_ids.shape)  # (G, B, T, M)
    noise = gather_patches(draws.noise.to(latents.device), again)  # (G, B, T, M, P)
    index = scheduler.index_from_normal(draws.time.to(latents.device).gather(-1, again))  # (G, B, T, M)
    noisy = scheduler.add_noise(clean, noise, index)
    question = (shown, text, motion_flow, kept_ids, predicted_ids, noisy, scheduler.timesteps(index))
    target = scheduler.target(clean, noise, index) if teacher is None else teacher(*question).float()
    errors = (transformer(*question).float() - target).square().mean(-1)  # (G, B, T, M)
    if weights is not None:
        counts = weights.to(latents.device).gather(-1, predicted_ids)  # (B, T, M)
        errors = errors * (counts / counts.mean(-1, keepdim=True))
    per_frame = errors.mean(dim=(0, 1, 3))  # (T,)
    total = per_frame[0] if len(per_frame) == 1 else per_frame[0] + per_frame[1:].mean()
    return Losses(total, per_frame.detach())


def _generator(*key: int) -> torch.Generator:
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
