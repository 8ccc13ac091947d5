"""Losses of motion: position, velocity and acceleration, where the truth is known."""

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of the values (B, T, C) where the mask is true; 0 where it nowhere is.

    Args:
        values: (B, T, C).
        mask: (B, T, C) bool.
        weight: (B,) factor of each sample.
    """
    known = mask.to(values.dtype)
    kept = values * known
    if weight is not None:
        kept = kept * weight.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    return kept.sum() / known.sum().clamp(min=1)


def motion_loss(predicted: Tensor, truth: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error of position, velocity and acceleration, summed (Eq. 14 to 17 of MMGT; MMGT-10).

    Each is the mean over the numbers whose truth is known (the paper sums over key points: a constant factor; that
    missing points are left out is ours). A velocity is known where both of its frames are, an acceleration where all
    three are. Sequences too short for a term go without it.

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
