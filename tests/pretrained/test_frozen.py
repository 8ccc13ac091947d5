"""What is frozen stays so, follows its module, and leaves no trace in what is saved."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.saved import SavedNetwork
from pretrained.frozen import Frozen, freeze, frozen_of


class Yardstick(nn.Module):
    """Has parameters, buffers of both kinds, and parts that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.register_buffer("mean", torch.ones(3))
        self.register_buffer("scratch", torch.ones(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x - self.mean)


class Trained(nn.Module, SavedNetwork):
    """A network that measures itself by a frozen one."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.outer = nn.Linear(3, width)
        self.by = nn.ModuleList([Frozen(yardstick(), "ab" * 32)])

    def forward(self, x: Tensor) -> Tensor:
        return self.by[0](self.outer(x))


def yardstick(seed: int = 0) -> Yardstick:
    torch.manual_seed(seed)
    return Yardstick()


@pytest.fixture
def network() -> Trained:
    torch.manual_seed(1)
    return Trained()


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}


def test_it_stays_in_evaluation_mode_and_takes_no_gradients(network: Trained) -> None:
    held, x = network.by[0], torch.randn(5, 3, requires_grad=True)
    before = state(held)
    network.train()
    assert network.training
    assert not any(module.training for module in held.modules())
    network(x).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in held.parameters())
    assert network.outer.weight.grad is not None, "gradients pass through to what is trained"
    assert all(torch.equal(value, before[name]) for name, value in state(held).items()), "no statistics are taken"


def test_it_goes_where_its_module_goes(network: Trained) -> None:
    held = network.to(torch.float64).by[0]
    assert {value.dtype for value in state(held).values() if value.is_floating_point()} == {torch.float64}
    assert {value.device.type for value in state(network.to("meta").by[0]).values()} == {"meta"}


def test_it_is_in_no_state_dict(network: Trained) -> None:
    assert list(network.state_dict()) == ["outer.weight", "outer.bias"]
    assert network.by[0].state_dict() == {}
    assert list(frozen_of(network)) == ["by.0"]


def test_a_saved_network_is_without_it_and_finds_its_own_again(network: Trained, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path)
    repeated = Trained.from_pretrained(tmp_path, strict=True)
    assert torch.equal(repeated.outer.weight, network.outer.weight)
    assert all(torch.equal(value, state(network)[name]) for name, value in state(repeated).items())


@pytest.mark.parametrize("assign", [False, True])
def test_weights_that_an_earlier_version_saved_are_passed_over(network: Trained, assign: bool) -> None:
    kept = state(network.by[0])
    old = copy.deepcopy(network.state_dict()) | {
        f"by.0.network.{name}": value for name, value in yardstick(7).state_dict().items()
    }
    old |= {"by.0.network.of.another.build": torch.zeros(2), "by.0.network.mean": torch.zeros(9)}
    old["outer.bias"] = torch.full((3,), 5.0)
    given = list(old)
    network.load_state_dict(old, strict=True, assign=assign)
    assert network.outer.bias.tolist() == [5, 5, 5]
    assert all(torch.equal(value, kept[name]) for name, value in state(network.by[0]).items())
    assert list(old) == given, "the dictionary stays as it was given"
    with pytest.raises(RuntimeError, match=r"Unexpected key.*inner\.weight"):
        network.load_state_dict({**old, "inner.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing key.*outer\.bias"):
        network.load_state_dict({name: value for name, value in old.items() if name != "outer.bias"})


def test_freeze_is_for_networks_that_stand_alone() -> None:
    output = freeze(yardstick())
    assert not any(p.requires_grad for p in output.parameters())
    assert not output.training
