"""Gaussian filtering of pictures, in full precision and right at the borders."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALL = 128
"""Largest side of pictures of which matrix products make means faster than convolutions do, on a CPU."""


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
        rows, columns = (_windows(size, sigma, radius, stride, x) for size in x.shape[-2:])
        if x.device.type == "cpu" and max(x.shape[-2:]) <= _SMALL:
            return _by_matrices(x, rows, columns)
        return _by_convolutions(x, rows, columns, sigma, radius, stride)


def _windows(size: int, sigma: float, radius: int, stride: int, like: Tensor) -> Tensor:
    """Weights (ceil(size / stride), size) of each pixel in each mean along one axis; they do not sum to one."""
    at = torch.arange(size, device=like.device, dtype=like.dtype)
    distances = at - at[::stride, None]
    return torch.exp(-distances.square() / (2 * sigma**2)) * (distances.abs() <= radius)


def _by_matrices(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A third of the time on a CPU. Not for GPUs, which may be told to multiply matrices with 10 bits."""
    return (rows / rows.sum(1, keepdim=True)) @ (x @ (columns / columns.sum(1, keepdim=True)).T)


def _by_convolutions(x: Tensor, rows: Tensor, columns: Tensor, sigma: float, radius: int, stride: int) -> Tensor:
    distances = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel, channels = torch.exp(-distances.square() / (2 * sigma**2)), x.shape[1]
    down, across = kernel.view(1, 1, -1, 1), kernel.view(1, 1, 1, -1)
    x = F.conv2d(x, down.expand(channels, -1, -1, -1), stride=(stride, 1), padding=(radius, 0), groups=channels)
    x = F.conv2d(x, across.expand(channels, -1, -1, -1), stride=(1, stride), padding=(0, radius), groups=channels)
    return x / (rows.sum(1)[:, None] * columns.sum(1))
