"""Replays recorded noise schedules: tables, timesteps, noised values, chains of steps.

S steps. A chain starts from `start` and takes `model_out` as the prediction of each step; injected noise comes from the draws.
"""

import re
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler, Schedule
from lora_studio.parity.recordings import Recording

TIMESTEP = 1e-6  # of the 0..1000 scale: float32 tables differ by a few units in the last place
_TABLES = {
    "linear": {},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},  # as Stable Diffusion has it
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "cosine_zsnr": {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True},
}


def schedule_of(facts: dict[str, Any]) -> Schedule:
    """The schedule a recorded case ran with.

    Raises:
        ModelError: it is none of ours.
    """
    settings = {key: value for key, value in facts.items() if key != "class"}
    if facts["class"] == "fm":
        return FlowMatchScheduler(**settings)
    if facts["class"] == "ddpm":
        return DDPMSchedule(DDPMScheduler(**settings), even_stride=True)
    raise ModelError(f"the recording ran with a schedule {facts['class']!r}; known are fm and ddpm")


def replay(recording: Recording) -> None:
    """Compares every table, timestep list, noised value and chain."""
    for key in sorted(recording.tensors):
        parts = key.split(".")
        if parts[0] == "fm":
            _flow(recording, key, parts[1:])
        elif parts[:2] == ["ddpm", "timesteps"]:
            _timesteps(recording, key, parts[2], int(parts[3]))
        elif parts[0] == "ddpm":
            _ddpm(recording, key, parts[1], parts[2])
    for key, value in recording.facts.items():
        if match := re.fullmatch(r"fm\.shift(\d+)\.sigma_min_max", key):
            sigmas = FlowMatchScheduler(shift=float(match[1])).train_sigmas
            recording.compare_number(f"fm.shift{match[1]}.sigma_min", float(sigmas[-1]), value[0])
            recording.compare_number(f"fm.shift{match[1]}.sigma_max", float(sigmas[0]), value[1])
            recording.settle(key)


def _flow(recording: Recording, key: str, parts: list[str]) -> None:
    name = parts[-1]
    if parts[0] == "sample_timesteps":  # indices of recorded normal draws
        index = FlowMatchScheduler().index_from_normal(recording.given("fm.sample_timesteps_normal"))
        recording.compare(key, index)
        return
    shift, steps = re.fullmatch(r"(?:set_)?shift(\d+)", parts[0]), re.fullmatch(r"(sigmas|timesteps|chain)(\d+)", name)
    if shift is None:
        return
    schedule = FlowMatchScheduler(shift=float(shift[1]))
    once = parts[0].startswith("set_")  # the shift was set on a schedule made without: applied once, to an unshifted range
    if name == "train_sigmas":
        recording.compare(key, schedule.train_sigmas)
    elif name == "train_timesteps":
        recording.compare(key, schedule.train_sigmas * schedule.num_train_timesteps, TIMESTEP)
    elif name == "add_noise":
        recording.compare(key, _noised(recording, schedule))
    elif name == "add_noise_timestep":
        recording.compare(key, schedule.timesteps(recording.given("t_index")), TIMESTEP)
    elif steps is not None and once:
        unshifted = FlowMatchScheduler().plan(int(steps[2])).sigmas[:-1].double()
        sigmas = schedule.shift * unshifted / (1 + (schedule.shift - 1) * unshifted)
        recording.compare(key, sigmas * schedule.num_train_timesteps, TIMESTEP)
    elif steps is not None and steps[1] == "chain":
        recording.compare(key, _chain(recording, schedule, int(steps[2]), key))
    elif steps is not None:
        plan = schedule.plan(int(steps[2]))
        recording.compare(key, plan.sigmas if steps[1] == "sigmas" else plan.timesteps, None if steps[1] == "sigmas" else TIMESTEP)


def _timesteps(recording: Recording, key: str, spacing: str, steps: int) -> None:
    if match := re.fullmatch(r"(leading|trailing|linspace)(\d+)", spacing):
        scheduler = DDPMScheduler.from_config({"timestep_spacing": match[1], "steps_offset": int(match[2]), "clip_sample": False})
        assert isinstance(scheduler, DDPMScheduler)
        recording.compare(key, DDPMSchedule(scheduler).plan(steps).timesteps)


def _ddpm(recording: Recording, key: str, case: str, name: str) -> None:
    settings = recording.facts.get("ddpm_configs", {}).get(case, _TABLES.get(case))
    if settings is None:
        return
    scheduler = DDPMScheduler(**{"clip_sample": False, **settings})
    if name == "alphas_cumprod":
        recording.compare(key, scheduler.alphas_cumprod)
    elif name == "add_noise":
        recording.compare(key, _noised(recording, DDPMSchedule(scheduler)))
    elif name == "velocity":
        velocity = DDPMSchedule(DDPMScheduler(**{"clip_sample": False, **settings, "prediction_type": "v_prediction"}))
        recording.compare(key, velocity.target(*_pair(recording)))
    elif match := re.fullmatch(r"chain(\d+)", name):
        recording.compare(key, _chain(recording, DDPMSchedule(scheduler, even_stride=True), int(match[1]), key))


def _pair(recording: Recording) -> tuple[Tensor, Tensor, Tensor]:
    return recording.given("x0"), recording.given("noise"), recording.given("t_index")


def _noised(recording: Recording, schedule: Schedule) -> Tensor:
    return schedule.add_noise(*_pair(recording))


def _chain(recording: Recording, schedule: Schedule, steps: int, key: str) -> Tensor:
    """The sample after each step, (S, ...)."""
    plan, sample, samples = schedule.plan(steps), recording.given("start"), []
    outputs, noises = recording.given("model_out"), [value for _, value in recording.draws(key)]
    for index in range(steps):
        noise = noises.pop(0) if plan.needs_noise(index) else None
        sample = plan.step(index, outputs[index], sample, noise)
        samples.append(sample)
    return torch.stack(samples)
