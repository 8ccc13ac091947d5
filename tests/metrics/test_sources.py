"""What a figure may be called, by the network that made it."""

from torch import nn

from metrics.sources import Sourced, source_of, yardstick
from pretrained.weights import WeightsSource


def test_a_figure_of_other_weights_has_another_name():
    figure = Sourced()
    figure.figure, figure.source = "FID", WeightsSource("Net", "net.pth", "ab" * 32)
    assert figure.label == "FID (other weights)"
    figure.source = WeightsSource("Net", "net.pth", "ab" * 32, standard=True)
    assert figure.label == "FID"


def test_a_network_of_ones_own_is_never_standard():
    assert source_of(nn.Linear(1, 1)) == WeightsSource("Linear")
    assert str(source_of(nn.Linear(1, 1))) == "Linear (other weights)"


def test_a_yardstick_is_frozen_and_knows_where_it_comes_from():
    source = WeightsSource("Net", "net.pth", "ab" * 32, standard=True)
    network = yardstick(nn.Dropout(), source)
    assert source_of(network) == source
    assert not network.training
    assert not any(p.requires_grad for p in yardstick(nn.Linear(1, 1), source).parameters())
