"""Distances to the true motion: of points, of their velocities and of their accelerations."""

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.points import in_frame_heights, pair, visible


class _MeanOverPoints(Metric):
    """A mean over all points of all frames that are there in both poses."""

    total: Tensor
    count: Tensor
    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def _add(self, values: Tensor, there: Tensor) -> None:
        self.total += torch.where(there, values, torch.zeros_like(values)).sum()
        self.count += there.sum()

    def compute(self) -> Tensor:
        """The mean, a scalar; NaN without a single point."""
        return self.total / self.count if self.count > 0 else torch.tensor(float("nan"))


class PoseError(_MeanOverPoints):
    """Mean squared distance of points, |p - q|^2 in squared frame heights, over points there in both poses."""

    def update(self, generated: Tensor, truth: Tensor, aspect: float = 1.0) -> None:
        """Add clips (..., T, P, 3); aspect is the frame's width over its height."""
        generated, truth = pair(generated, truth)
        difference = in_frame_heights(generated, aspect) - in_frame_heights(truth, aspect)
        self._add(difference.square().sum(-1), visible(generated) & visible(truth))


class VelocityError(_MeanOverPoints):
    """Mean distance of velocities, |v - w| in frame heights a second, v = fps (p_t - p_{t-1}).

    A velocity counts where the point is there in both poses in both frames.
    """

    order = 1

    def update(self, generated: Tensor, truth: Tensor, fps: float, aspect: float = 1.0) -> None:
        """Add clips (..., T, P, 3); aspect is the frame's width over its height."""
        generated, truth = pair(generated, truth)
        difference = in_frame_heights(generated, aspect) - in_frame_heights(truth, aspect)
        there = visible(generated) & visible(truth)
        for _ in range(self.order):
            difference = (difference[..., 1:, :, :] - difference[..., :-1, :, :]) * fps
            there = there[..., 1:, :] & there[..., :-1, :]
        self._add(difference.norm(dim=-1), there)


class AccelerationError(VelocityError):
    """Mean distance of accelerations in frame heights a second squared, a = fps^2 (p_t - 2 p_{t-1} + p_{t-2})."""

    order = 2


class MissedPoints(_MeanOverPoints):
    """Share of the truth's points that the generated pose leaves out; they are in none of the other distances."""

    def update(self, generated: Tensor, truth: Tensor) -> None:
        """Add clips (..., T, P, 3)."""
        generated, truth = pair(generated, truth)
        self._add((~visible(generated)).double(), visible(truth))
