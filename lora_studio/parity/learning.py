"""Replays recorded training steps: mask, noise and timesteps injected; losses and gradients compared.

R rows (B * T), G noise draws per clip, N patches, P values of a patch.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lora_studio.nova.layers import patchify
from lora_studio.nova.schedules import DDPMSchedule, Schedule
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.parity.backbone import build, inputs
from lora_studio.parity.recordings import Recording, mask_of
from lora_studio.parity.schedules import schedule_of
from lora_studio.training.objective import Draws, training_loss

KNOWN = {"noise_scheduler", "frames", "torch_seed", "np_seed", "caption_dropout", "losses", "kept"}


def replay(recording: Recording) -> None:
    """Compares every recorded training case; one that is malformed or has settings unknown here is noted and left unchecked."""
    cases = recording.facts.get("train", {})
    for case, facts in cases.items():
        recording.attempt(f"train.{case}", partial(_case, recording, case, facts))
    if cases and not any(row.key.startswith("grad_norms.") or ".grad." in row.key for row in recording.rows):
        recording.remarks.append("no gradient is recorded: of the training steps nothing behind the losses was compared")


def _case(recording: Recording, case: str, facts: dict[str, Any]) -> None:
    if recording.knows(f"train.{case}", facts, KNOWN):
        _replay(recording, case, facts)
        recording.settle(f"train.{case}", f"grad_norms.{case}")


def _replay(recording: Recording, case: str, facts: dict[str, Any]) -> None:
    model, schedule = build(recording), schedule_of(facts["noise_scheduler"])
    text, flow, latents = inputs(recording)
    latents = latents[:, :, : facts["frames"]]
    drawn = recording.draws(f"train.{case}")
    dropped = [float(value) < facts["caption_dropout"] for op, value in drawn if op == "numpy.random.rand"]
    if dropped:
        text = [row[:0] if drop else row for row, drop in zip(text, dropped, strict=True)]
    uniform, ratio, noise, time = (value for op, value in drawn if op != "numpy.random.rand")
    kept, mask = mask_of(uniform, float(ratio))
    recording.compare(f"train.{case}.mask", mask)
    recording.compare_fact(f"train.{case}.kept", kept.shape[1], facts["kept"])
    normal = _normal(time, schedule)
    index = schedule.index_from_normal(normal)  # (G * R, N)
    recording.compare(f"train.{case}.t_index", index)
    recording.compare(f"train.{case}.t_value", schedule.timesteps(index))
    _between(recording, case, model, schedule, latents, text, flow, kept, noise, index)
    losses = training_loss(model, schedule, latents, text, flow, _draws(latents, uniform, float(ratio), noise, normal))
    _losses(recording, case, facts["losses"], losses.total, losses.per_frame)
    losses.total.backward()
    _gradients(recording, case, model)


def _normal(time: Tensor, schedule: Schedule) -> Tensor:
    """Recorded timestep draws as the normal draws that a schedule turns into the same index."""
    if isinstance(schedule, DDPMSchedule):
        return torch.special.ndtri((time.double() + 0.5) / len(schedule.scheduler.alphas_cumprod))
    return time


def _draws(latents: Tensor, uniform: Tensor, ratio: float, noise: Tensor, normal: Tensor) -> Draws:
    batch, _, num_frames, *_ = latents.shape
    repeats = len(noise) // (batch * num_frames)
    return Draws(
        ratio=ratio,
        order=uniform[..., 0].unflatten(0, (batch, num_frames)).argsort(-1),
        noise=noise.unflatten(0, (repeats, batch, num_frames)),
        time=normal.unflatten(0, (repeats, batch, num_frames)),
    )


@torch.no_grad()
def _between(
    recording: Recording,
    case: str,
    model: NOVATransformer3DModel,
    schedule: Schedule,
    latents: Tensor,
    text: list[Tensor],
    flow: Tensor | None,
    kept: Tensor,
    noise: Tensor,
    index: Tensor,
) -> None:
    """What the published code has between mask and loss; it works out every patch, ours only the hidden ones."""
    if f"train.{case}.pred" not in recording and f"train.{case}.z" not in recording:
        return
    frames = latents.transpose(1, 2).flatten(0, 1)  # (R, C, H, W)
    repeats = len(noise) // len(frames)
    clean = patchify(frames, model.patch).repeat(repeats, 1, 1)  # (G * R, N, P)
    noisy = schedule.add_noise(clean, noise, index)
    context = model.encode_video(latents, model.condition(text, flow)).flatten(0, 1)  # (R, N_video, D)
    z = model.encode_image(frames, context, kept)  # (R, N, D)
    recording.compare(f"train.{case}.x_patch", clean)
    recording.compare(f"train.{case}.x_t", noisy)
    recording.compare(f"train.{case}.z", z)
    recording.compare(f"train.{case}.pred", model.denoise(noisy, schedule.timesteps(index), z.repeat(repeats, 1, 1)))


def _losses(recording: Recording, case: str, want: dict[str, float], total: Tensor, per_frame: Tensor) -> None:
    """The published code reports the weighted terms; their sum is what is descended."""
    found = {"loss": total.item(), "loss_t2i": per_frame[0].item(), "loss_i2i": per_frame[1:].mean().item()}
    for name, value in want.items():
        if name in found:
            recording.compare_number(f"train.{case}.{name}", found[name], value)
        else:
            recording.notes.append(f"train.{case}: a loss not known here: {name}")
    recording.compare_number(f"train.{case}.total", total.item(), sum(want.values()))


def _gradients(recording: Recording, case: str, model: NOVATransformer3DModel) -> None:
    gradients = {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in model.named_parameters()}
    for name, norm in recording.facts.get("grad_norms", {}).get(case, {}).items():
        if name not in gradients:
            recording.notes.append(f"grad_norms.{case}: no parameter {name}")
            continue
        recording.compare_number(f"grad_norms.{case}.{name}", float(gradients[name].norm()), norm or 0.0)
    for name, gradient in gradients.items():
        recording.compare(f"train.{case}.grad.{name}", gradient)
