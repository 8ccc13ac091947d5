"""Gaussian filtering of pictures, in full precision and right at the borders."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """A while without autocast: squares of pictures are subtracted, of which 16 bits leave nothing."""
    if torch.amp.is_autocast_available(device.type):
        with torch.autocast(device.type, enabled=False):
            yield
    else:
        yield


def gaussian_filter(x: Tensor, sigma: float, radius: int, stride: int = 1) -> Tensor:
    """Weighted means of each pixel's surroundings, one axis after the other.

    What lies outside of the picture has no weight, and the weights of what is inside sum to one: a picture of one
    colour keeps it to its borders.

    Args:
        x: (N, C, H, W); computed in float32.
        sigma: standard deviation in pixels.
        radius: pixels to each side that are read.
        stride: every how many pixels a mean is taken, from the first on.

    Returns:
        (N, C, ceil(H / stride), ceil(W / stride)) float32, at least; float64 stays.
    """
    with full_precision(x.device):
        x = x.float() if x.dtype != torch.float64 else x
        distances = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
        weights = torch.exp(-distances.square() / (2 * sigma**2))
        channels = x.shape[1]
        for axis in (2, 3):
            shape, steps, padding = [1, 1, 1, 1], [1, 1], [0, 0]
            shape[axis], steps[axis - 2], padding[axis - 2] = len(weights), stride, radius
            kernel = weights.view(shape)
            there = F.conv2d(torch.ones_like(x[:1, :1].narrow(5 - axis, 0, 1)), kernel, stride=steps, padding=padding)
            summed = F.conv2d(x, kernel.expand(channels, *shape[1:]), stride=steps, padding=padding, groups=channels)
            x = summed / there
    return x
