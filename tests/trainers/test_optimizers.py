"""Optimisers and schedules by name."""

import math

import pytest
import torch
from torch import nn

from settings import ConfigError
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES


def steps(options: dict, gradients: list[float], start: float = 1.0) -> list[float]:
    """A single weight after each step with the given gradients."""
    weight = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = OPTIMIZERS.build(options)([weight])
    values = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        values.append(weight.item())
    return values


def adan_by_hand(gradients: list[float], lr: float, decay: float) -> list[float]:
    """Algorithm 1 of the Adan paper with bias correction and proximal weight decay, for one weight."""
    b1, b2, b3, eps = 0.98, 0.92, 0.99, 1e-8
    weight, m, v, n, before, values = 1.0, 0.0, 0.0, 0.0, gradients[0], []
    for k, g in enumerate(gradients, 1):
        difference, before = g - before, g
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * difference
        n = b3 * n + (1 - b3) * (g + b2 * difference) ** 2
        root = math.sqrt(n / (1 - b3**k)) + eps
        weight -= lr * (m / (1 - b1**k) + b2 * v / (1 - b2**k)) / root
        weight /= 1 + lr * decay
        values.append(weight)
    return values


@pytest.mark.paper("MMGT-12")
def test_adan_is_the_papers_with_decoupled_decay() -> None:
    gradients = [0.5, -0.2, 0.7, 0.1]
    ours = steps({"name": "adan", "lr": 0.05, "weight_decay": 0.3}, gradients)
    assert ours == pytest.approx(adan_by_hand(gradients, 0.05, 0.3), rel=1e-9)


@pytest.mark.paper("MMGT-12")
def test_adan_defaults_are_those_of_mmgt() -> None:
    optimizer = OPTIMIZERS.build("adan")([nn.Parameter(torch.zeros(1))])
    assert optimizer.param_groups[0]["lr"] == 2e-4
    assert optimizer.param_groups[0]["weight_decay"] == 0.02


def test_adamw_decays_the_weight_and_not_the_gradient() -> None:
    # With a gradient of zero only the decay is left.
    assert steps({"name": "adamw", "lr": 0.1, "weight_decay": 0.5}, [0.0]) == pytest.approx([0.95])
    assert steps({"name": "adam", "lr": 0.1}, [0.0]) == [1.0]


def rates(options: dict | str, count: int, run_steps: float = math.inf) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = SCHEDULES.build(options)(optimizer, lambda: run_steps)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_schedules() -> None:
    assert rates("constant", 3) == [2, 2, 2]
    assert rates({"name": "warmup", "warmup_steps": 4}, 6) == [0.5, 1, 1.5, 2, 2, 2]
    cosine = rates({"name": "cosine", "warmup_steps": 2, "final_factor": 0.1}, 12, run_steps=10)
    assert cosine[:3] == [1, 2, 2]
    assert cosine[6] == pytest.approx(2 * (0.1 + 0.9 * 0.5))
    assert cosine[10:] == pytest.approx([0.2, 0.2])


def test_cosine_of_an_endless_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs an end"):
        rates({"name": "cosine"}, 1)
