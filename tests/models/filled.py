"""Networks as they are after some training: nothing in them is zero any more."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def filled(network: Network, std: float = 0.1) -> Network:
    """Give every weight that starts at zero, as those of FiLM and of last layers do, small random numbers.

    What goes through a weight of zero changes nothing: a test of a fresh network does not see whether it is right.
    """
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=std)
    return network
