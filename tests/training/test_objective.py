"""The training loss: equal to the published one on recorded draws; the same however samples are batched."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler
from parity import SETS, Recording

from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler
from lora_studio.training.objective import Draws, draw, training_loss

SHAPE = (4, 4, 3, 8, 12)
FLOW = torch.tensor([5.0, 3.0])


def _replayed(recording: Recording, case: str) -> tuple[Draws, FlowMatchScheduler | DDPMSchedule, int]:
    uniform, ratio, noise, time = recording.draws(f"train.{case}")
    frames = 1 if case == "t1" else 3
    schedule = FlowMatchScheduler(shift=3.0 if case == "fm_shift3" else 1.0)
    if case == "ddpm":
        schedule = DDPMSchedule(DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False))
        time = torch.special.ndtri((time.double() + 0.5) / 1000)  # the normal draw that gives this index
    return Draws(
        ratio=float(ratio),
        order=uniform.reshape(2, frames, 24).argsort(-1),
        noise=noise.reshape(4, 2, frames, 24, 16),
        time=time.reshape(4, 2, frames, 24),
    ), schedule, frames


CASES = {"abs_nomix": ("fm", "ddpm", "t1", "fm_shift3"), "rope_mix4": ("fm", "ddpm", "t1")}


@pytest.mark.parametrize("name", SETS)
def test_every_recorded_case_is_replayed(name: str) -> None:
    elsewhere = {"dropout"}  # `lora_studio.parity` replays it, dropped captions and all (tests/parity_room)
    assert set(Recording(name).meta["train"]) - elsewhere == set(CASES[name])


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in SETS for case in CASES[name]])
def test_loss_and_gradients_equal_the_recording(name: str, case: str) -> None:
    recording = Recording(name)
    draws, schedule, frames = _replayed(recording, case)
    model, text = recording.transformer(), [recording["in.text0"], recording["in.text1"]]
    losses = training_loss(model, schedule, recording["in.x"][:, :, :frames], text, FLOW, draws)
    want = recording.meta["train"][case]["losses"]
    assert losses.total.item() == pytest.approx(sum(want.values()), rel=1e-5)
    if frames > 1:
        assert losses.per_frame[0].item() == pytest.approx(want["loss_t2i"], rel=1e-5)
        assert losses.per_frame[1:].mean().item() == pytest.approx(want["loss_i2i"], rel=1e-5)
    losses.total.backward()
    parameters = dict(model.named_parameters())
    for key, norm in recording.meta["grad_norms"].get(case, {}).items():
        gradient = parameters[key].grad
        assert (0.0 if gradient is None else gradient.norm().item()) == pytest.approx(norm or 0.0, rel=1e-4, abs=1e-6), key
    for key in recording.tensors:
        if key.startswith(f"train.{case}.grad."):
            gradient = parameters[key.removeprefix(f"train.{case}.grad.")].grad
            assert gradient is not None
            recording.close(key, gradient, 1e-6)


def test_draws_depend_on_seed_step_and_sample_alone() -> None:
    whole = draw(7, 3, [10, 11, 12, 13], SHAPE, 24, 2)
    part = draw(7, 3, [12], (1, *SHAPE[1:]), 24, 2)
    assert part.ratio == whole.ratio
    assert torch.equal(part.order[0], whole.order[2])
    assert torch.equal(part.noise[:, 0], whole.noise[:, 2])
    assert torch.equal(part.time[:, 0], whole.time[:, 2])
    for other in (draw(8, 3, [12], (1, *SHAPE[1:]), 24, 2), draw(7, 4, [12], (1, *SHAPE[1:]), 24, 2)):
        assert other.ratio != part.ratio
        assert not torch.equal(other.noise, part.noise)


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    draw(0, 0, [0], (1, *SHAPE[1:]), 24, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_mask_ratios_have_the_published_mean() -> None:
    ratios = [draw(0, step, [0], (1, 1, 1, 2, 2), 1, 1).ratio for step in range(1500)]
    assert sum(ratios) / len(ratios) == pytest.approx(0.867, abs=0.006)
    assert min(ratios) >= 0.7
    assert max(ratios) <= 1.0


@torch.no_grad()
def test_two_halves_have_the_mean_loss_of_the_whole() -> None:
    recording = Recording("abs_nomix")
    model, latents = recording.transformer(), torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    text = [recording["in.text0"], recording["in.text1"], recording["in.text0"][:0], recording["in.text1"][:4]]
    flow, ids = torch.full((4,), 5.0), [4, 5, 6, 7]

    def loss(part: slice) -> torch.Tensor:
        clips = latents[part]
        return training_loss(
            model, FlowMatchScheduler(), clips, text[part], flow[part], draw(0, 1, ids[part], tuple(clips.shape), 24, 4)
        ).total

    halves = (loss(slice(0, 2)) + loss(slice(2, 4))) / 2
    assert loss(slice(0, 4)).item() == pytest.approx(halves.item(), rel=1e-5)


@torch.no_grad()
def test_bf16_model_gives_a_float32_loss_near_the_float32_one() -> None:
    recording = Recording("abs_nomix")
    draws, schedule, _ = _replayed(recording, "fm")
    text = [recording["in.text0"], recording["in.text1"]]
    want = training_loss(recording.transformer(), schedule, recording["in.x"], text, FLOW, draws).total
    got = training_loss(recording.transformer().to(torch.bfloat16), schedule, recording["in.x"], text, FLOW, draws).total
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(want.item(), rel=0.02)


@torch.no_grad()
def test_visible_patches_are_not_scored() -> None:
    """Noise on a visible patch does not matter."""
    recording = Recording("abs_nomix")
    draws, schedule, _ = _replayed(recording, "fm")
    text = [recording["in.text0"], recording["in.text1"]]
    num_kept = round((1 - draws.ratio) * 24)
    noise = draws.noise.clone()
    ids = draws.order[..., :num_kept, None].expand(4, 2, 3, num_kept, 16)
    changed = dataclasses.replace(draws, noise=noise.scatter(3, ids, 100.0))
    model = recording.transformer()
    losses = [training_loss(model, schedule, recording["in.x"], text, FLOW, d).total for d in (draws, changed)]
    assert losses[0] == losses[1]


@torch.no_grad()
def test_a_teacher_takes_the_place_of_the_clip() -> None:
    """A model that is its own teacher has nothing to learn; a teacher that is wrong by one everywhere costs one."""
    recording = Recording("abs_nomix")
    draws, schedule, _ = _replayed(recording, "fm")
    model, text = recording.transformer(), [recording["in.text0"], recording["in.text1"]]

    def total(teacher: Callable[..., torch.Tensor] | None) -> float:
        return training_loss(model, schedule, recording["in.x"], text, FLOW, draws, teacher=teacher).per_frame.sum().item()

    assert total(model) == 0
    assert total(lambda *question: model(*question) + 1) == pytest.approx(3, rel=1e-5)  # of three frames
    assert total(None) > 1


@torch.no_grad()
def test_what_is_shown_can_differ_from_what_is_asked_for() -> None:
    """A model that ignores what it sees has the same loss whatever is shown; one that looks has another."""
    recording = Recording("abs_nomix")
    draws, schedule, _ = _replayed(recording, "fm")
    model, text, clips = recording.transformer(), [recording["in.text0"], recording["in.text1"]], recording["in.x"]

    def total(network: Callable[..., torch.Tensor], shown: torch.Tensor | None) -> float:
        return training_loss(network, schedule, clips, text, FLOW, draws, shown=shown).total.item()  # type: ignore[arg-type]

    def blind(_shown: torch.Tensor, *question: object) -> torch.Tensor:
        return model(clips, *question)

    assert total(blind, torch.zeros_like(clips)) == total(model, None) == total(model, clips)
    assert total(model, torch.zeros_like(clips)) != total(model, None)


@torch.no_grad()
def test_weights_say_how_much_a_patch_counts() -> None:
    recording = Recording("abs_nomix")
    draws, schedule, _ = _replayed(recording, "fm")
    draws = dataclasses.replace(draws, ratio=1.0)
    model, text = recording.transformer(), [recording["in.text0"], recording["in.text1"]]

    def per_frame(weights: torch.Tensor | None) -> torch.Tensor:
        return training_loss(model, schedule, recording["in.x"], text, FLOW, draws, weights=weights).per_frame

    left = (torch.arange(24) < 12).float().expand(2, 3, 24)
    assert torch.allclose(per_frame(torch.full((2, 3, 24), 3.0)), per_frame(None))
    assert not torch.allclose(per_frame(left), per_frame(1 - left))
    assert torch.allclose((per_frame(left) + per_frame(1 - left)) / 2, per_frame(None), rtol=1e-4)
