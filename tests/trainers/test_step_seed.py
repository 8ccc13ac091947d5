"""Dropout's random numbers: others in every step, the same when a step is repeated."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models.layers.dropout import BranchDropout
from trainers.callbacks.step_seed import StepSeed


@pytest.fixture(autouse=True)
def as_before():
    """Global random numbers are left as they were."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def dropped(step: int, rank: int = 0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """What torch's dropout and ours drop in a step."""
    trainer: Any = SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=step)), global_rank=rank
    )
    module: Any = SimpleNamespace(device=torch.device("cpu"))
    StepSeed(seed).on_train_batch_start(trainer, module, None, 0)
    branch = torch.ones(4, 50)
    own = BranchDropout(0.5).train()
    return torch.nn.functional.dropout(branch, 0.5), own.draw(branch, 1).add(torch.zeros(4, 50), branch, 0)


@pytest.mark.parametrize("kind", [0, 1])
def test_every_step_rank_and_seed_drops_others_and_a_repeated_step_the_same(kind):
    cases = [(step, rank, seed) for step in range(4) for rank in range(2) for seed in range(2)]
    masks = [dropped(*case)[kind] for case in cases]
    torch.rand(17)
    for case, mask in zip(cases, masks, strict=True):
        assert torch.equal(dropped(*case)[kind], mask)
    for number, mask in enumerate(masks):
        assert not any(torch.equal(mask, other) for other in masks[:number]), cases[number]
