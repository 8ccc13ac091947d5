"""What validation of a classifier measures: accuracy by noise level, and the area under the ROC curve."""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC

QUARTERS: Final = ("low", "low_middle", "high_middle", "high")
"""Of the noise levels, in which accuracy is told apart."""


class PairMeasures(torch.nn.Module):
    """Accuracy of all levels and of each quarter of them, and the area under the ROC curve, over a whole validation.

    Args:
        levels: noise levels that there are.
    """

    names: Final = ("auc", "accuracy", *(f"accuracy_{name}" for name in QUARTERS))

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        self.means: Any = torch.nn.ModuleDict({name: MeanMetric() for name in self.names[1:]})
        self.area: Any = BinaryAUROC(validate_args=False)  # of a batch that counts nothing, too

    def update(self, scores: Tensor, target: Tensor, levels: Tensor) -> None:
        """Take samples in: logits, whether they are right (1) or wrong (0), and noise levels, all (N,)."""
        hit = ((scores > 0) == target.bool()).float()
        self.area.update(scores, target.long())
        self.means["accuracy"].update(hit)
        quarter = levels * len(QUARTERS) // self.levels
        for number, name in enumerate(QUARTERS):
            self.means[f"accuracy_{name}"].update(hit[quarter == number])

    def results(self) -> Iterator[tuple[str, Tensor]]:
        """Each figure that there is, and forget it: every rank computes all, since that waits for the others."""
        for name, metric in {"auc": self.area, **self.means}.items():
            figure = metric.compute()
            if figure.isfinite():
                yield name, figure
            metric.reset()
