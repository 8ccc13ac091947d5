"""Dropout of residual branches."""

import pytest
import torch

from models.layers.dropout import BranchDropout
from models.layers.film import Modulation


def test_drops_the_stated_share_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout = BranchDropout(0.25).train()
    branch = torch.ones(40, 500)
    draw = dropout.draw(branch, 3)
    for place in range(3):
        dropped = draw.add(torch.zeros_like(branch), branch, place)
        assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
        assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / 0.75])


def test_places_and_passes_differ_and_a_seed_repeats_them():
    branch = torch.ones(10, 50)
    dropout = BranchDropout(0.5).train()

    def masks(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        draw = dropout.draw(branch, 2)
        return [draw.add(torch.zeros_like(branch), branch, place) for place in range(2)]

    first, repeated, other = masks(0), masks(0), masks(1)
    assert torch.equal(first[0], repeated[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_elements_are_dropped_independently():
    """Of two fixed elements, of one place and of two, both are dropped in p^2 of all passes."""
    torch.manual_seed(0)
    dropout = BranchDropout(0.5).train()
    branch = torch.ones(30)
    both = within = 0
    for _ in range(4000):
        draw = dropout.draw(branch, 2)
        a, b = (draw.add(torch.zeros(30), branch, place) for place in range(2))
        both += int(a[3] == 0 and b[3] == 0)
        within += int(a[3] == 0 and a[17] == 0)
    # Two places share a bit now and then; with so few elements as here that shows, but little.
    assert both / 4000 == pytest.approx(0.25, abs=0.04)
    assert within / 4000 == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.9, False)])
def test_nothing_is_dropped_in_evaluation_or_without_probability(p, training):
    dropout = BranchDropout(p).train(training)
    branch = torch.randn(5, 5)
    assert torch.equal(dropout.draw(branch, 1).add(torch.ones(5, 5), branch, 0), branch + 1)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradients_are_those_of_the_formula(modulated):
    """x + keep (gain branch + shift), with the zeros and ones of a pass seen from outside."""
    torch.manual_seed(0)
    dropout = BranchDropout(0.3).train()
    x, branch = (torch.randn(2, 5, 4, dtype=torch.double, requires_grad=True) for _ in range(2))
    gain, shift = (torch.randn(2, 1, 4, dtype=torch.double, requires_grad=True) for _ in range(2))
    film = Modulation(gain, shift) if modulated else None
    draw = dropout.draw(branch, 1)
    keep = draw.add(torch.zeros_like(x), torch.ones_like(branch), 0).detach()
    assert 0 < (keep == 0).sum() < keep.numel()
    output = draw.add(x, branch, 0, film)
    expected = x + keep * (gain * branch + shift if modulated else branch)
    torch.testing.assert_close(output, expected)
    inputs = (x, branch, gain, shift) if modulated else (x, branch)
    weight = torch.randn_like(x)
    for one, two in zip(
        torch.autograd.grad((output * weight).sum(), inputs), torch.autograd.grad((expected * weight).sum(), inputs)
    ):
        torch.testing.assert_close(one, two)
