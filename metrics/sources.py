"""Saying which network made a figure."""

from typing import Any, TypeVar

from torch import nn

from pretrained.frozen import freeze
from pretrained.weights import WeightsSource

Network = TypeVar("Network", bound=nn.Module)


class Sourced:
    """A figure that depends on a network: `source` says on which, `label` what the figure may be called.

    Figures from other weights are on another scale, so they carry another name.
    """

    figure: str
    source: WeightsSource

    @property
    def label(self) -> str:
        """The figure's name in a table: "FID", or "FID (other weights)"."""
        return self.figure if self.source.standard else f"{self.figure} (other weights)"


def source_of(network: Any) -> WeightsSource:
    """Where a network's weights come from; a network that does not say so has no standard weights."""
    return getattr(network, "source", WeightsSource(type(network).__name__))


def yardstick(network: Network, source: WeightsSource) -> Network:
    """A network ready to measure with: frozen, and it knows where it comes from."""
    network.source = source  # type: ignore[assignment]
    return freeze(network)
