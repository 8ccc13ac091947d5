"""How near a picture comes to the true one, pixel by pixel and window by window: PSNR and SSIM."""

from typing import Final

import torch
from torch import Tensor

from metrics.frames import MeanOverFrames, pair_frames

CEILING: Final = 100.0
"""Decibels of a frame that equals the true one, whose PSNR is infinite (ours)."""
_EDGE: Final = 5  # the 11 x 11 window does not fit nearer to the frame's edge
_AT_ONCE: Final = 8  # frames: the windows' moments of a frame take 30 times its memory


def psnr(squared_error: Tensor) -> Tensor:
    """Decibels of mean squared errors of values in [0, 1], 10 log10(1 / e), at most `CEILING`."""
    return (-10 * squared_error.log10()).clamp(max=CEILING)


def ssim_map(generated: Tensor, truth: Tensor) -> Tensor:
    """SSIM around every pixel, mean over the three channels (Wang et al. 2004).

    Gaussian window of 11 x 11 pixels, sigma 1.5, moments without Bessel's correction, K1 = 0.01, K2 = 0.03, data range
    1. Only where the whole window lies in the frame: five pixels at each edge are left out, as in scikit-image.
    (torchmetrics' own mean counts them, over a mirrored border.) In single precision, exact to about 1e-5: in double
    it takes eleven times as long.

    Args:
        generated, truth: (T, 3, H, W) floats in [0, 1].

    Returns:
        (T, H - 10, W - 10) in [-1, 1].

    Raises:
        ValueError: the frames are smaller than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(generated.shape[-2:]) <= 2 * _EDGE:
        raise ValueError(f"SSIM needs frames of at least 11 x 11 pixels; these are {tuple(generated.shape[-2:])}")
    maps = []
    for one, other in zip(generated.split(_AT_ONCE), truth.split(_AT_ONCE), strict=True):
        _, whole = structural_similarity_index_measure(
            one.float(), other.float(), sigma=1.5, data_range=1.0, return_full_image=True, reduction="none"
        )
        maps.append(whole[..., _EDGE:-_EDGE, _EDGE:-_EDGE].mean(1))
    return torch.cat(maps).double()


class PSNR(MeanOverFrames):
    """Peak signal-to-noise ratio in decibels, of each frame, then mean over all frames (IM-19); higher is better.

    PSNR = 10 log10(1 / mean (x - y)^2) over the pixels and channels of a frame, values in [0, 1]: on uint8 frames the
    usual 10 log10(255^2 / ...). Floats are taken as they are; rounding to 8 bits changes 35 dB by under 0.02. A frame
    that equals the true one counts as 100 dB and in `equal`.
    """

    equal: Tensor
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("equal", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Tensor, truth: Tensor) -> None:
        """Add a clip: (T, 3, H, W) each, uint8 or float in [0, 1]."""
        generated, truth = pair_frames(generated, truth, torch.float64)
        errors = (generated - truth).square().mean((1, 2, 3))
        self.equal += (errors == 0).sum().to(self.equal.device)
        self._add(psnr(errors))


class SSIM(MeanOverFrames):
    """Structural similarity of each frame, then mean over all frames (IM-19); 1 for equal frames.

    The mean of `ssim_map`: equal to scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1)`.
    """

    higher_is_better = True

    def update(self, generated: Tensor, truth: Tensor) -> None:
        """Add a clip: (T, 3, H, W) each, uint8 or float in [0, 1]."""
        generated, truth = pair_frames(generated, truth)
        self._add(ssim_map(generated, truth).mean((1, 2)))
