"""The loss of networks that denoise latents of frames."""

from torch import Tensor


def latent_loss(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    places: Tensor | None = None,
    *,
    relative: bool = True,
    counted: Tensor | None = None,
) -> Tensor:
    """Mean over samples of their squared error (MMGT-20: Algorithm 2, line 21; PH-4: Eq. 1).

    Args:
        output: (B, C, T, h, w) of the network.
        target: what it should be.
        weight: (B,) what the noise level of each sample counts.
        places: (B, 1, T, h, w) what each place counts; all the same where None.
        relative: against the others of its sample, so that a sample counts what it did; false multiplies the errors
            (PH-8).
        counted: (B, T) bool, false for frames that are outside of the loss; all are in it where None.
    """
    error = (output.float() - target).square()
    if places is not None:
        error = error * (places / places.mean((1, 2, 3, 4), keepdim=True) if relative else places)
    if counted is None:
        return (weight * error.mean((1, 2, 3, 4))).mean()
    each = error.mean((1, 3, 4)) * counted
    return (weight * each.sum(1) / counted.sum(1).clamp(min=1)).mean()
