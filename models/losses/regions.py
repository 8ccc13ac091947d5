"""Means of errors over pictures, in which some regions may count more."""

import torch
from torch import Tensor
from torch.nn import functional as F


def region_mean(errors: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over samples of each one's weighted mean; 0 for a sample whose weights are all zero.

    Args:
        errors: (N, C, H, W), at any resolution of the weighted pictures.
        weight: (N, 1, H', W'), not negative: what each pixel counts, against the others of its picture. It is averaged
            to the size of the errors. None counts all the same.

    Returns:
        A scalar.
    """
    if weight is None:
        return errors.mean()
    weight = weight.to(errors.dtype)
    if weight.shape[-2:] != errors.shape[-2:]:
        weight = F.adaptive_avg_pool2d(weight, (errors.shape[-2], errors.shape[-1]))
    total = (errors * weight).flatten(1).sum(1)
    shares = weight.flatten(1).sum(1) * errors.shape[1]
    return (total / shares.clamp(min=torch.finfo(errors.dtype).tiny)).mean()


def movement_weight(frames: Tensor, still: Tensor, factor: float) -> Tensor:
    """What each pixel counts where those count more that move: 1 + factor times the difference over its mean (ours).

    The difference of a frame from a still one is the mean over colours, smoothed over 5 x 5 pixels; its mean is over
    the frame.

    Args:
        frames: (N, 3, H, W) in [0, 1].
        still: (N, 3, H, W) of the same clips.
        factor: not negative.

    Returns:
        (N, 1, H, W).
    """
    moved = F.avg_pool2d((frames - still).abs().mean(1, keepdim=True), 5, stride=1, padding=2)
    return 1 + factor * moved / moved.mean((1, 2, 3), keepdim=True).clamp(min=1e-3)


def check_frames(generated: Tensor, target: Tensor, weight: Tensor | None = None, channels: int | None = 3) -> None:
    """Raises ValueError unless both are frames (N, C, H, W) of one shape, and the weight is (N, 1, H, W).

    Args:
        generated: what is compared.
        target: what it is compared with.
        weight: what each pixel counts.
        channels: how many channels frames have; None takes any number.
    """
    if generated.shape != target.shape:
        raise ValueError(
            f"generated and true frames have to have one shape, not {tuple(generated.shape)} and {tuple(target.shape)}"
        )
    if generated.ndim != 4 or (channels is not None and generated.shape[1] != channels):
        wanted = "C" if channels is None else channels
        raise ValueError(f"frames are (N, {wanted}, H, W), not {tuple(generated.shape)}; flatten time into N")
    expected = (generated.shape[0], 1, *generated.shape[2:])
    if weight is not None and tuple(weight.shape) != expected:
        raise ValueError(f"weights of these frames are {expected}, not {tuple(weight.shape)}")
