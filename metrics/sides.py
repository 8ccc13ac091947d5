"""What measures between two sets of features share."""

from torch import Tensor
from torchmetrics import Metric


class TwoSides(Metric):
    """A distance between generated and true features; lower is better.

    Args:
        features: size D of a feature.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, features: int):
        super().__init__()
        self.features = features

    def check(self, features: Tensor) -> None:
        """Raises ValueError for what are no (N, D) features."""
        if features.ndim != 2 or features.shape[1] != self.features:
            raise ValueError(f"features are (N, {self.features}); these are {tuple(features.shape)}")
