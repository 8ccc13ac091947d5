"""Samplers: from noise to a sample, a step at a time."""

from typing import Protocol

from torch import Tensor


class Sampler(Protocol):
    """Takes steps; holds nothing of a sample, so that a step may be taken from anywhere, as guidance by gradients does.

    Attributes:
        levels: (steps,) noise levels, noisiest first.
    """

    levels: Tensor

    def step(self, z: Tensor, level: Tensor) -> Tensor:
        """z (B, ...) at one of `levels` to the next, or from the last to a clean sample."""
        ...

    def run(self, noise: Tensor) -> Tensor:
        """Standard normal noise (B, ...) to a clean sample, all steps."""
        ...
