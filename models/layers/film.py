"""Feature-wise linear modulation: x is scaled and shifted by what a condition says."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Modulation(NamedTuple):
    """What one FiLM does: `gain` = 1 + scale and `shift`, each (B, 1, W)."""

    gain: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(1 + scale) x + shift, for x (B, T, W)."""
        return torch.addcmul(self.shift, x, self.gain)


class FiLMBank(nn.Module):
    """The scales and shifts of all FiLM layers of a network, from one matrix product.

    Each FiLM has weights of its own, as if it were a layer: FiLM_i(x; c) = (1 + scale_i) x + shift_i with
    (scale_i, shift_i) = W_i Mish(c) + b_i. All start as the identity.

    Args:
        condition: channels of the condition.
        width: channels W of what is modulated.
        sites: number of FiLM layers.
    """

    def __init__(self, condition: int, width: int, sites: int):
        super().__init__()
        self.sites, self.width = sites, width
        self.project = nn.Linear(condition, sites * 2 * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, condition: Tensor) -> list[Modulation]:
        """(B, condition) to one Modulation a site."""
        numbers = self.project(F.mish(condition)).view(-1, self.sites, 2, 1, self.width)
        scales, shifts = numbers.permute(2, 1, 0, 3, 4).unbind(0)
        return [Modulation(*pair) for pair in zip((scales + 1).unbind(0), shifts.unbind(0), strict=True)]
