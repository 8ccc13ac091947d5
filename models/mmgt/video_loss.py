"""The loss of MMGT's second stage (MMGT-20)."""

from torch import Tensor


def video_loss(output: Tensor, target: Tensor, weight: Tensor, places: Tensor | None = None) -> Tensor:
    """Mean over samples of their squared error: with the noise as target that of Algorithm 2, line 21.

    Args:
        output: (B, C, T, h, w) of the network.
        target: what it should be.
        weight: (B,) what the noise level of each sample counts.
        places: (B, 1, T, h, w) what each place counts against the others of its sample (ours); all the same where None.
    """
    error = (output.float() - target).square()
    if places is not None:
        error = error * (places / places.mean((1, 2, 3, 4), keepdim=True))
    return (weight * error.mean((1, 2, 3, 4))).mean()
