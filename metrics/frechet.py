"""The Frechet distance between two sets of features."""

import torch
from torch import Tensor

from metrics.sides import TwoSides


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> Tensor:
    """Squared Frechet distance of two Gaussians, |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    The trace of the root is taken as the sum of the roots of the eigenvalues of C_a^(1/2) C_b C_a^(1/2): symmetric, so
    nothing complex can come out, also where there are fewer samples than features.

    Args:
        mean_a, mean_b: (D,).
        covariance_a, covariance_b: (D, D).
    """
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ covariance_b @ root
    trace_root = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * trace_root
    return distance.clamp(min=0)


class FrechetDistance(TwoSides):
    """Squared Frechet distance between generated and true features, each taken as a Gaussian; lower is better.

    Only sums are kept (float64), so memory does not grow and ranks can be added up. Covariances are divided by n - 1.

    Args:
        features: size D of a feature.
    """

    generated_count: Tensor
    truth_count: Tensor

    def __init__(self, features: int):
        super().__init__(features)
        for side in ("generated", "truth"):
            self.add_state(f"{side}_count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
            self.add_state(f"{side}_sum", torch.zeros(features, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state(f"{side}_outer", torch.zeros(features, features, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Tensor, generated: bool) -> None:
        """Add (N, D) features of one side."""
        self.check(features)
        side = "generated" if generated else "truth"
        features = features.double()
        getattr(self, f"{side}_count").add_(len(features))
        getattr(self, f"{side}_sum").add_(features.sum(0))
        getattr(self, f"{side}_outer").add_(features.T @ features)

    def compute(self) -> Tensor:
        """The distance, a scalar; NaN while a side has fewer than two features."""
        if min(self.generated_count, self.truth_count) < 2:
            return torch.tensor(float("nan"))
        return frechet_distance(*self._moments("generated"), *self._moments("truth"))

    def _moments(self, side: str) -> tuple[Tensor, Tensor]:
        count, total, outer = (getattr(self, f"{side}_{name}") for name in ("count", "sum", "outer"))
        mean = total / count
        return mean, (outer - count * torch.outer(mean, mean)) / (count - 1)
