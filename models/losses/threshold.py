"""A loss that leaves small errors alone."""

import torch
from torch import Tensor

from models.losses.gaussian import full_precision


def threshold_loss(truth: Tensor, features: Tensor, threshold: float = 0.05) -> Tensor:
    """L_pg = sqrt(mean((v_gt - v_dev)^2) m), m = 1 where mean |v_gt - v_dev| > tau, else 0 (IM-11).

    A sample at or below the threshold adds exactly zero to the loss and to every gradient: the square root is not even
    taken there. Numbers that are not finite are not small: they make the loss so. Computed in float32.

    Args:
        truth: v_gt, (B, C), or (..., C) with every vector a sample. Detach it where it is not to move.
        features: v_dev, of the same shape.
        threshold: tau.

    Returns:
        The mean over samples, a scalar.

    Raises:
        ValueError: shapes that differ, or a negative threshold.
    """
    if truth.shape != features.shape:
        raise ValueError(f"features of one shape are compared, not {tuple(truth.shape)} and {tuple(features.shape)}")
    if threshold < 0:
        raise ValueError(f"the threshold of mean |v_gt - v_dev| cannot be negative, got {threshold}")
    with full_precision(features.device):
        difference = features.to(torch.promote_types(features.dtype, torch.float32)) - truth
        squares = difference.square().mean(-1)
        # Not `>`: NaN compares as false, and would be masked.
        small = (difference.abs().mean(-1) <= threshold) | (squares == 0)
        roots = torch.where(small, torch.ones_like(squares), squares).sqrt()
        return torch.where(small, torch.zeros_like(roots), roots).mean()
