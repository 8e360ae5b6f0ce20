"""The schedule as a function of the step."""

import pytest
import torch

from lora_studio.recipe import OptimSection
from lora_studio.training.optim import build_optimizer, learning_rate, set_learning_rate_


def test_warm_up_then_half_a_cosine():
    section = OptimSection(lr=1e-3, warmup_steps=10)
    rates = [learning_rate(step, 110, section) for step in range(110)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == rates[10] == pytest.approx(1e-3)
    assert rates[60] == pytest.approx(0.55e-3)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_constant_and_too_long_a_warm_up():
    assert learning_rate(500, 1000, OptimSection(lr=0.1, warmup_steps=0, schedule="constant")) == 0.1
    assert learning_rate(4, 5, OptimSection(lr=0.1, warmup_steps=50)) == pytest.approx(0.01)


def test_the_rate_reaches_the_optimizer():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer({"w": weight}, OptimSection(weight_decay=0.0))
    set_learning_rate_(optimizer, 0.5)
    weight.grad = torch.ones(3)
    optimizer.step()
    assert torch.allclose(weight.detach(), torch.full((3,), 0.5))
