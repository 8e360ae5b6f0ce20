"""Noise schedules against diffusers' own classes and the recording."""

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from parity import Recording

from lora_studio.errors import ModelError
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler

CONFIGS = [
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_large"},
    {"variance_type": "fixed_small_log"},
    {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    {"prediction_type": "sample", "clip_sample": True},
]


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [6, 25, 100])
def test_flow_matching_equals_diffusers(shift: float, steps: int) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule = FlowMatchScheduler(shift=shift)
    assert torch.allclose(schedule.train_sigmas, theirs.sigmas[:1000], atol=1e-6)
    theirs.set_timesteps(steps)
    plan = schedule.plan(steps)
    assert torch.allclose(plan.sigmas, theirs.sigmas, atol=1e-6)
    assert torch.allclose(plan.timesteps, theirs.timesteps, atol=2e-4)


@pytest.mark.parametrize("config", CONFIGS)
def test_ddpm_steps_equal_diffusers(config: dict) -> None:
    settings = {"clip_sample": False, **config}
    theirs, plan = DDPMScheduler(**settings), DDPMSchedule(DDPMScheduler(**settings)).plan(6)
    theirs.set_timesteps(6)
    generator, noise_generator = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    sample = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    for index, timestep in enumerate(theirs.timesteps):
        output = sample.sin()
        want = theirs.step(output, int(timestep), sample, generator=generator, return_dict=False)[0]
        noise = torch.randn(2, 5, 16, generator=noise_generator) if plan.needs_noise(index) else None
        assert torch.allclose(plan.step(index, output, sample, noise), want, atol=2e-5)
        sample = want


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_ddpm_training_pair_equals_diffusers(prediction_type: str) -> None:
    theirs = DDPMScheduler(prediction_type=prediction_type)
    clean, noise, index = torch.randn(3, 16), torch.randn(3, 16), torch.tensor([0, 500, 999])
    schedule = DDPMSchedule(theirs)
    assert torch.allclose(schedule.add_noise(clean, noise, index), theirs.add_noise(clean, noise, index), atol=1e-6)
    want = noise if prediction_type == "epsilon" else theirs.get_velocity(clean, noise, index)
    assert torch.allclose(schedule.target(clean, noise, index), want, atol=1e-6)


def test_noise_survives_at_small_timesteps_in_bf16() -> None:
    """The published schedule rounds its table to bf16 first, and then adds exactly no noise for t <= 20."""
    clean = torch.zeros(1, 16, dtype=torch.bfloat16)
    noised = DDPMSchedule(DDPMScheduler(beta_schedule="squaredcos_cap_v2")).add_noise(clean, torch.ones(1, 16), torch.tensor([5]))
    assert noised.dtype == torch.float32
    assert float(noised.min()) > 0.01


def test_one_schedule_trains_and_samples_at_once() -> None:
    schedule = DDPMSchedule()
    before = schedule.plan(10).timesteps.clone()
    schedule.plan(3)
    assert torch.equal(schedule.plan(10).timesteps, before)
    assert torch.equal(schedule.timesteps(torch.tensor([7])), torch.tensor([7]))


@pytest.mark.parametrize("schedule", [FlowMatchScheduler(), DDPMSchedule()])
def test_indices_cover_the_table(schedule: FlowMatchScheduler | DDPMSchedule) -> None:
    index = schedule.index_from_normal(torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    assert 0 <= int(index.min()) < 100
    assert 900 < int(index.max()) < 1000
    assert abs(float(index.float().mean()) - 499.5) < 10


def test_learned_variance_is_refused() -> None:
    with pytest.raises(ModelError, match='variance_type must be "fixed_small" or .*, got "learned"'):
        DDPMSchedule(DDPMScheduler(variance_type="learned"))


def test_flow_matching_equals_the_recording() -> None:
    recording = Recording("schedulers")
    for shift in (1, 3):
        schedule = FlowMatchScheduler(shift=float(shift))
        recording.close(f"fm.shift{shift}.train_sigmas", schedule.train_sigmas)
        noised = schedule.add_noise(recording["x0"], recording["noise"], recording["t_index"])
        recording.close(f"fm.shift{shift}.add_noise", noised)
        recording.close(f"fm.shift{shift}.timesteps25", schedule.plan(25).timesteps, 2e-4)
