"""Guidance: what a network says with and without its conditions, put together to one x0."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Noisy samples (B, ...) and their levels (B,) to x0 (B, ...)."""

Conditioned = Callable[[Tensor, Tensor, Any, Mapping[str, Tensor]], Tensor]
"""Noisy samples (N, ...), levels (N,), conditions of N rows, and by the name of a condition where it is left out, (N,)
bool, to x0 (N, ...). N is a multiple of the batch: the guider stacks what it wants to know in one pass."""


class Guider(Protocol):
    """Makes a denoiser of a network and the conditions of a batch."""

    def prepare(self, predict: Conditioned, conditions: Any) -> Denoiser:
        """Stack the conditions, once for all steps of sampling.

        Args:
            predict: the network.
            conditions: of the batch, as `conditions.stacked` takes them.
        """
        ...
