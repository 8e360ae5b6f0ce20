"""Checkpoints come back bit for bit, the newest whole one is taken, and old ones go."""

import pytest
import torch

from lora_studio.errors import TrainingError
from lora_studio.recipe import OptimSection
from lora_studio.training import checkpoint
from lora_studio.training.checkpoint import list_checkpoints, load_checkpoint, newest_checkpoint, save_checkpoint
from lora_studio.training.optim import build_optimizer


def made(seed: int = 0, size: int = 4):
    torch.manual_seed(seed)
    parameters = {name: torch.nn.Parameter(torch.randn(size, 3)) for name in ("a.lora_A.default.weight", "a.lora_B.default.weight")}
    return parameters, build_optimizer(parameters, OptimSection(lr=0.01))


def advance(parameters, optimizer, steps: int) -> None:
    for _ in range(steps):
        for parameter in parameters.values():
            parameter.grad = parameter.detach().sin() + len(optimizer.state)
        optimizer.step()


def test_going_on_from_a_checkpoint_equals_not_having_stopped(tmp_path):
    parameters, optimizer = made()
    advance(parameters, optimizer, 3)
    saved = save_checkpoint(tmp_path, 3, parameters, optimizer)
    advance(parameters, optimizer, 3)
    others, other_optimizer = made(seed=1)
    load_checkpoint(saved, others, other_optimizer)
    advance(others, other_optimizer, 3)
    assert all(torch.equal(parameters[name], others[name]) for name in parameters)


def test_the_newest_two_are_kept_and_a_damaged_one_is_passed_over(tmp_path):
    parameters, optimizer = made()
    assert newest_checkpoint(tmp_path) is None
    for step in (10, 20, 30):
        advance(parameters, optimizer, 1)
        save_checkpoint(tmp_path, step, parameters, optimizer)
    assert [c.step for c in list_checkpoints(tmp_path)] == [20, 30]
    (tmp_path / ".step_000040.tmp").mkdir()
    (tmp_path / "step_000030" / checkpoint.OPTIMIZER).write_bytes(b"cut short")
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 20
    (tmp_path / "step_000030" / checkpoint.STATE).write_text("{")
    assert newest_checkpoint(tmp_path) == newest
    (tmp_path / "step_000020" / checkpoint.ADAPTER).unlink()
    with pytest.raises(TrainingError, match="every checkpoint"):
        newest_checkpoint(tmp_path)


def test_a_checkpoint_of_another_adapter_is_refused(tmp_path):
    parameters, optimizer = made()
    advance(parameters, optimizer, 1)
    saved = save_checkpoint(tmp_path, 1, parameters, optimizer)
    with pytest.raises(TrainingError, match="another adapter"):
        load_checkpoint(saved, *made(size=5))


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    parameters, optimizer = made()
    advance(parameters, optimizer, 1)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(TrainingError, match="50 MB free, got 1 MB"):
        save_checkpoint(tmp_path, 1, parameters, optimizer)
    assert list_checkpoints(tmp_path) == []
