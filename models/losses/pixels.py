"""Errors of pixels and of their neighbours, and what latents of an autoencoder cost."""

import torch
from torch import Tensor

from models.losses.regions import check_frames, region_mean


def pixel_error(generated: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """mean |x - y| of frames (N, 3, H, W), a scalar; `weight` (N, 1, H, W) is what each pixel counts."""
    check_frames(generated, target, weight)
    return region_mean((generated - target).abs(), weight)


def edge_error(generated: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """mean |d_x (x - y)| + mean |d_y (x - y)|, d the difference of neighbours; likewise."""
    check_frames(generated, target, weight)
    error, terms = generated - target, []
    for axis in (2, 3):
        difference = error.diff(dim=axis).abs()
        at = None if weight is None else weight.narrow(axis, 0, difference.shape[axis])
        terms.append(region_mean(difference, at))
    return torch.stack(terms).sum()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance), N(0, 1)) in nats, mean over the numbers of latents (Kingma and Welling 2014).

    1/2 mean (m^2 + s^2 - 1 - log s^2); the sum over a latent's numbers, as others weigh it, is C h w times as large.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
