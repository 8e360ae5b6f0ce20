"""Training in pieces: a stop and a new start change nothing; courses are strict."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lora_studio.errors import TrainingError
from lora_studio.nano.progress import Course, Progress, read_course

COURSE = Course(steps=12, batch_size=4, lr=0.05, warmup_steps=3)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def _loss_of(network: nn.Module, until: int | None = None):
    def loss_of_step(step: int) -> dict[str, Tensor]:
        if step == until:
            raise KeyboardInterrupt
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return {"loss": (network(x) - x[:, :2]).square().mean()}

    return loss_of_step


@pytest.mark.parametrize("course", [COURSE, COURSE.model_copy(update={"muon_lr": 0.05})], ids=["adamw", "muon"])
def test_a_stop_changes_nothing(tmp_path: Path, course: Course) -> None:
    straight = Progress(_network(), course, tmp_path / "straight.safetensors")
    straight.advance(1.0, _loss_of(straight.network))
    first = Progress(_network(), course, tmp_path / "pieces.safetensors")
    with pytest.raises(KeyboardInterrupt):
        first.advance(1.0, _loss_of(first.network, until=5))
    first.save()
    second = Progress(_network(), course, tmp_path / "pieces.safetensors")
    assert second.step == 5
    second.advance(1.0, _loss_of(second.network))
    assert second.done
    for name, value in straight.parameters.items():
        assert torch.equal(value, second.parameters[name])
        assert torch.equal(straight.average[name], second.average[name])


def test_no_time_means_no_step(tmp_path: Path) -> None:
    progress = Progress(_network(), COURSE, tmp_path / "none.safetensors")
    progress.advance(0.0, _loss_of(progress.network))
    assert progress.step == 0


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    progress, kept = Progress(_network(), COURSE, tmp_path / "some.safetensors"), []
    loss_of = _loss_of(progress.network)

    def watched(step: int) -> dict[str, torch.Tensor]:
        kept.append({name: value.detach().clone() for name, value in progress.parameters.items()})
        return loss_of(step)

    progress.advance(1.0, watched)
    kept.append(progress.parameters)
    average = kept[0]
    for step, weights in enumerate(kept[1:], 1):
        share = min(0.999, step / (step + 10))
        average = {name: share * value + (1 - share) * weights[name].detach() for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(progress.average[name], value)
        assert not torch.allclose(value, progress.parameters[name], atol=1e-4)


def test_muon_trains_the_matrices_of_linear_layers_and_adamw_all_else(tmp_path: Path) -> None:
    network = nn.ModuleDict({"words": nn.Embedding(5, 3), "read": nn.Linear(3, 2), "norm": nn.LayerNorm(2)})
    adamw, muon = Progress(network, COURSE.model_copy(update={"muon_lr": 0.1}), tmp_path / "some.safetensors").optimizers
    names = {parameter: name for name, parameter in network.named_parameters()}
    assert [names[p] for group in muon.param_groups for p in group["params"]] == ["read.weight"]
    assert [[names[p] for p in group["params"]] for group in adamw.param_groups] == [
        ["words.weight"], ["read.bias", "norm.weight", "norm.bias"]]  # fmt: skip
    assert [group["initial_lr"] for group in adamw.param_groups + muon.param_groups] == [0.05, 0.05, 0.1]


def test_progress_of_another_network_is_refused(tmp_path: Path) -> None:
    Progress(_network(), COURSE, tmp_path / "some.safetensors").save()
    with pytest.raises(TrainingError, match=r"is of another network \(no extra\.weight\)"):
        Progress(nn.ModuleDict({"extra": nn.Linear(2, 2)}), COURSE, tmp_path / "some.safetensors")


def test_a_loss_that_is_no_number_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    progress = Progress(_network(), COURSE, tmp_path / "some.safetensors")
    progress.save()
    before = progress.path.read_bytes()
    with pytest.raises(TrainingError, match="the loss loss is no number any more at step 12"):
        progress.advance(1.0, lambda step: {"loss": progress.network(torch.ones(1, 3)).mean() * float("nan")})
    assert progress.path.read_bytes() == before


def test_progress_of_other_sizes_is_refused(tmp_path: Path) -> None:
    Progress(nn.Linear(2, 2), COURSE, tmp_path / "some.safetensors").save()
    with pytest.raises(TrainingError, match=r"is of another network \(weight has the shape \(2, 2\), not \(3, 2\)\)"):
        Progress(nn.Linear(2, 3), COURSE, tmp_path / "some.safetensors")


def test_the_rate_rises_and_falls() -> None:
    course = Course(steps=100, batch_size=1, lr=1.0, warmup_steps=10)
    assert [course.rate(0), course.rate(9), course.rate(10)] == [0.1, 1.0, 1.0]
    assert course.rate(99) == pytest.approx(0.02, abs=1e-3)
    assert all(course.rate(step) > course.rate(step + 1) for step in range(10, 99))


def test_a_typo_in_a_course_is_named(tmp_path: Path) -> None:
    path = tmp_path / "course.toml"
    path.write_text("steps = 10\nbatch_size = 4\nlr = 1e-3\nwarm_up_steps = 5\n")
    with pytest.raises(TrainingError, match="warm_up_steps is not a known key; did you mean warmup_steps"):
        read_course(path, Course)
