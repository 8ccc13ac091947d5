"""Short trainings whose network is the average of their steps, as an exported one is."""

import torch
from torch import Tensor, nn


class Averaged:
    """Steps of AdamW, and the average of the weights.

    Args:
        network: is trained.
    """

    def __init__(self, network: nn.Module, **options: object):
        self.network = network
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, fused=True, **options)  # type: ignore[arg-type]
        self.average = [parameter.detach().clone() for parameter in network.parameters()]
        self.steps = 0

    def step(self, loss: Tensor) -> None:
        """Go a step down."""
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            share = 1 - min(0.99, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.average, list(self.network.parameters()), share)
        self.steps += 1

    def finish(self) -> None:
        """Give the network the average."""
        with torch.no_grad():
            for parameter, mean in zip(self.network.parameters(), self.average, strict=True):
                parameter.copy_(mean)
