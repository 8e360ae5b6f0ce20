"""Replays recorded generations: every random draw injected, the latents and what leads to them compared.

B samples, R rows of the model, T latent frames, N patches, P values of a patch, C H W latents.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.layers import gather_patches, patchify, scatter_patches
from lora_studio.nova.masking import Round, generation_rounds
from lora_studio.nova.schedules import Schedule
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.parity.backbone import build, inputs
from lora_studio.parity.recordings import Recording, Replay
from lora_studio.parity.schedules import schedule_of

# how the settings of a recorded case are called here; spatio-temporal guidance changes nothing in this model
SETTINGS = {
    "num_inference_steps": "num_steps",
    "num_diffusion_steps": "num_diffusion_steps",
    "guidance_scale": "guidance",
    "min_guidance_scale": "min_guidance",
    "guidance_trunc": "guidance_trunc",
    "guidance_renorm": "guidance_renorm",
    "image_guidance_scale": "image_guidance",
    "motion_flow": "motion_flow",
}
CEILING: Final = 2e-3  # of the largest latent: what a recording may ask for at most, 4 times its noisiest case by our measure
_GENERATED: Final = 1e-4  # of the largest latent: what it is granted at least, for steps add up what FORWARD allows for one pass
_WHOLE = ("num_steps", "num_diffusion_steps")
_DESCRIBED = {"generator_seed", "spatiotemporal_guidance_scale"}  # where the recorded draws are from; what has no effect here
_OTHER = {"sampler", "frames", "num_preds", "i2v", "order_equal_for_all_frames", "float64_maxdiff", "absmax", *_DESCRIBED}


def settings_of(facts: dict[str, Any]) -> SamplerSettings:
    """The settings of a recorded case."""
    named = {SETTINGS[key]: value for key, value in facts.items() if key in SETTINGS and value is not None}
    return SamplerSettings.model_validate({key: int(v) if key in _WHOLE else float(v) for key, v in named.items()})


def replay(recording: Recording) -> None:
    """Compares every recorded generation; one that is malformed or has settings unknown here is noted and left unchecked."""
    for case, facts in recording.facts.get("gen", {}).items():
        recording.attempt(f"gen.{case}", partial(_case, recording, case, facts))


def _case(recording: Recording, case: str, facts: dict[str, Any]) -> None:
    if recording.knows(f"gen.{case}", facts, {*SETTINGS, *_OTHER}):
        _replay(recording, case, facts)
        recording.settle(f"gen.{case}")


def _replay(recording: Recording, case: str, facts: dict[str, Any]) -> None:
    model, schedule, settings = build(recording, facts["frames"]), schedule_of(facts["sampler"]), settings_of(facts)
    text, _, latents = inputs(recording)
    noise = Replay(recording.draws(f"gen.{case}"))
    order, grid = noise.order(model.num_patches), noise.left[0]
    noise = Replay(recording.draws(f"gen.{case}"))
    rounds = generation_rounds(order, settings.num_steps)
    counts = [count for count in facts["num_preds"] if count]  # sets without patches are left out
    recording.compare_fact(f"gen.{case}.num_preds", [patches.predicted_ids.shape[1] for patches in rounds], counts)
    recording.compare(f"gen.{case}.order", order.unsqueeze(-1))
    first = latents[:, :, :1] if facts["i2v"] else None
    with _watched(model) as trace:
        found = generate_latents(model, schedule, text, settings, noise, first)
    if noise.left:
        recording.notes.append(f"gen.{case}: {len(noise.left)} recorded draws were not asked for")
    tolerance = _tolerance(recording, case, facts["float64_maxdiff"], largest := float(found.abs().max()))
    recording.compare(f"gen.{case}.latents", found, tolerance)
    if "order_equal_for_all_frames" in facts:
        is_equal = _is_order_equal(trace.ids, len(rounds))
        recording.compare_fact(f"gen.{case}.order_equal_for_all_frames", is_equal, facts["order_equal_for_all_frames"])
    if "absmax" in facts:
        recording.compare_number(f"gen.{case}.absmax", largest, facts["absmax"], tolerance)
    _compare_steps(recording, case, trace)
    _compare_frames(recording, case, model, schedule, text, settings)
    _compare_samples(recording, case, trace, schedule, settings, rounds, patchify(grid, model.patch), model.patch)


def _tolerance(recording: Recording, case: str, gap: float, largest: float) -> float:
    """20 times the recorded gap between float32 and float64, as a part of the largest latent, within bounds that are ours."""
    part = gap / max(1.0, largest)
    if not 0 <= part <= CEILING:
        recording.notes.append(
            f"gen.{case}: float64_maxdiff is {gap:g}, and rounding makes 0 to {CEILING:g} of the largest latent ({largest:.3g}): "
            f"the latents were held to {CEILING:g} of it"
        )
        return CEILING
    return min(max(_GENERATED, 20 * part), CEILING)


@dataclass
class _Trace:
    """What the model's parts were given and gave, call after call."""

    raw: list[Tensor] = field(default_factory=list)  # of the video encoder, before the mixer
    mixed: list[Tensor] = field(default_factory=list)
    canvases: list[Tensor] = field(default_factory=list)  # (R, C, H, W), what the image encoder was shown
    z: list[Tensor] = field(default_factory=list)  # (R, N, D), of all patches
    ids: list[Tensor | None] = field(default_factory=list)  # (R, M), what the image encoder was asked for


@contextmanager
def _watched(model: NOVATransformer3DModel) -> Iterator[_Trace]:
    trace = _Trace()
    encode_video_frame, encode_image = model.encode_video_frame, model.encode_image

    def video(*args: Any) -> Any:
        out, cache = encode_video_frame(*args)
        trace.mixed.append(out)
        return out, cache

    def image(canvas: Tensor, condition: Tensor, kept_ids: Tensor, predicted_ids: Tensor | None = None) -> Tensor:
        trace.canvases.append(canvas)
        trace.ids.append(predicted_ids)
        trace.z.append(encode_image(canvas, condition, kept_ids))
        return encode_image(canvas, condition, kept_ids, predicted_ids)

    def raw(_: nn.Module, __: Any, output: Tensor) -> None:
        trace.raw.append(output)

    handle = model.video_encoder.norm.register_forward_hook(raw)
    model.encode_video_frame, model.encode_image = video, image  # type: ignore[method-assign]
    try:
        yield trace
    finally:
        handle.remove()
        del model.encode_video_frame, model.encode_image


def _is_order_equal(ids: list[Tensor | None], num_rounds: int) -> bool:
    """Whether every generated frame was asked for the same patches, set after set, as the first one."""
    pairs = [(found, ids[index % num_rounds]) for index, found in enumerate(ids)]
    return all(one is not None and other is not None and torch.equal(one, other) for one, other in pairs)


def _compare_steps(recording: Recording, case: str, trace: _Trace) -> None:
    for step, z in enumerate(trace.z):
        recording.compare(f"gen.{case}.z_step{step}", z)


def _compare_frames(
    recording: Recording,
    case: str,
    model: NOVATransformer3DModel,
    schedule: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
) -> None:
    """What the video encoder says of each frame, given the recorded frames before it: no error is carried from frame to frame."""
    if f"gen.{case}.venc_t0" not in recording:
        return
    before = recording.wanted(f"gen.{case}.latents")[:, :, :-1]
    with _watched(model) as trace:
        generate_latents(model, schedule, text, settings, Replay(recording.draws(f"gen.{case}")), before)
    for frame, (raw, mixed) in enumerate(zip(trace.raw, trace.mixed, strict=True)):
        recording.compare(f"gen.{case}.venc_t{frame}", raw[:, raw.shape[1] - mixed.shape[1] :])
        recording.compare(f"gen.{case}.mix_t{frame}", mixed)


def _compare_samples(
    recording: Recording,
    case: str,
    trace: _Trace,
    schedule: Schedule,
    settings: SamplerSettings,
    rounds: list[Round],
    noise: Tensor,
    patch: int,
) -> None:
    """The published sampler steps the whole frame, with its own noisy value as the prediction of patches outside the set."""
    plan = schedule.plan(settings.num_diffusion_steps)
    for step, patches in enumerate(rounds[: len(trace.canvases) - 1]):
        key = f"gen.{case}.sample_step{step}"
        if key not in recording:
            continue
        if any(plan.needs_noise(index) for index in range(settings.num_diffusion_steps)):
            recording.notes.append(f"{key}: steps with noise of their own are not traced")
            return
        rest = patchify(_nth_noise(recording, case, step).reshape(trace.canvases[0][: len(noise)].shape), patch)  # (B, N, P)
        for index in range(settings.num_diffusion_steps):
            rest = plan.step(index, rest, rest, None)
        painted = patchify(trace.canvases[step + 1][: len(noise)], patch)
        ids = patches.predicted_ids
        recording.compare(key, scatter_patches(rest, ids, gather_patches(painted, ids)))


def _nth_noise(recording: Recording, case: str, step: int) -> Tensor:
    return recording.draws(f"gen.{case}")[1 + step][1]
