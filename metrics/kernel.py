"""The kernel distance between two sets of features: KID's and KVD's."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from metrics.sides import TwoSides


def kernel_distance(generated: Tensor, truth: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)^3 (Binkowski et al. 2018).

    Args:
        generated: (N, D), N at least 2.
        truth: (M, D), M at least 2.

    Returns:
        A scalar; it may lie below 0 where the two are alike.
    """
    x, y = generated.double(), truth.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        pairs = kernel(a, a)
        return (pairs.sum() - pairs.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


class KernelDistance(TwoSides):
    """`kernel_distance` of generated and true features; lower is better. All features are kept.

    Args:
        features: size D of a feature.
    """

    generated: Any
    truth: Any

    def __init__(self, features: int):
        super().__init__(features)
        for side in ("generated", "truth"):
            self.add_state(side, [], dist_reduce_fx="cat")

    def update(self, features: Tensor, generated: bool) -> None:
        """Add (N, D) features of one side."""
        self.check(features)
        (self.generated if generated else self.truth).append(features.detach())

    def compute(self) -> Tensor:
        """The distance, a scalar; NaN while a side has fewer than two features."""
        sides = [
            dim_zero_cat(side) if len(side) else torch.zeros(0, self.features) for side in (self.generated, self.truth)
        ]
        if min(map(len, sides)) < 2:
            return torch.tensor(float("nan"))
        return kernel_distance(*sides)
