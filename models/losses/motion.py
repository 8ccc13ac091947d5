"""Losses of motion: position, velocity and acceleration, where the truth is known."""

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over samples of each one's mean where the mask is true; 0 for a sample where it nowhere is.

    Every sample counts the same, so the mean over the ranks of a distributed run is that of the whole batch.

    Args:
        values: (B, T, C).
        mask: (B, T, C) bool.
        weight: (B,) factor of each sample.
    """
    known = mask.to(values.dtype)
    means = (values * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
    return (means if weight is None else means * weight.to(values.dtype)).mean()


def motion_loss(predicted: Tensor, truth: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error of position, velocity and acceleration, summed (Eq. 14 to 17 of MMGT; MMGT-10).

    Each is the mean over a sample's numbers whose truth is known, then over samples (the paper sums over key points: a
    constant factor; that missing points are left out is ours). A velocity is known where both of its frames are, an
    acceleration where all three are. Sequences too short for a term go without it.

    Args:
        predicted: (B, T, C).
        truth: (B, T, C).
        known: (B, T, C) bool.
        weight: (B,) factor of each sample.

    Returns:
        A scalar.
    """
    error = predicted - truth
    total = masked_mean(error.square(), known, weight)
    for _ in range(2):
        if error.shape[1] < 2:
            break
        error = error[:, 1:] - error[:, :-1]
        known = known[:, 1:] & known[:, :-1]
        total = total + masked_mean(error.square(), known, weight)
    return total


def difference_loss(
    predicted: Tensor, truth: Tensor, known: Tensor, order: int = 0, weight: Tensor | None = None
) -> Tensor:
    """Squared error of the differences in time of some order: 0 position, 1 velocity, 2 acceleration.

    The mean over a sample's numbers, then over samples; a difference is known where all its frames are. 0 for sequences
    too short for it.

    Args:
        predicted: (B, T, C).
        truth: (B, T, C).
        known: (B, T, C) bool.
        order: how often neighbours are subtracted.
        weight: (B,) factor of each sample.

    Returns:
        A scalar.
    """
    error = predicted - truth
    for _ in range(order):
        error = error[:, 1:] - error[:, :-1]
        known = known[:, 1:] & known[:, :-1]
    return masked_mean(error.square(), known, weight)
