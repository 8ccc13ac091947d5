"""Frames to latents of a variational autoencoder and back, in chunks: the same for shards, training and sampling."""

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CHUNK_PIXELS: Final = 8 * 512 * 512
"""Pixels that pass the autoencoder together where nobody says how many frames."""


@torch.no_grad()
def encode(network: "AutoencoderKL", frames: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Frames (..., 3, H, W) uint8 to mean and log-variance, each (..., C, ceil(H / f), ceil(W / f)), not scaled.

    A latent is `mean + exp(log_variance / 2) * noise`; networks see it times the autoencoder's
    `config.scaling_factor`, and `decode` takes it unscaled. f is `downscaling(network)`; frames whose sides it does not
    divide are continued by their last row and column (`padded`).

    Args:
        network: the autoencoder.
        frames: on any device.
        chunk: frames that pass it together; as many as hold `CHUNK_PIXELS` where None.
    """
    flat = frames.flatten(0, -4)
    moments = [moments_of(network, part) for part in flat.split(chunk or _chunk(*flat.shape[-2:]))]
    mean, log_variance = (torch.cat(parts) for parts in zip(*moments, strict=True))
    return mean.unflatten(0, frames.shape[:-3]), log_variance.unflatten(0, frames.shape[:-3])


def moments_of(network: "AutoencoderKL", frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (N, 3, H, W) uint8 to mean and log-variance (N, C, h, w), all at once (`encode`)."""
    with torch.no_grad():
        images = frames.to(network.device).contiguous().to(network.dtype) / 127.5 - 1
        encoded = network.encode(padded(images, downscaling(network))).latent_dist
        return encoded.mean, encoded.logvar


@torch.no_grad()
def decode(
    network: "AutoencoderKL", latents: Tensor, size: tuple[int, int] | None = None, chunk: int | None = None
) -> Tensor:
    """Latents (..., C, h, w), not scaled, to frames (..., 3, H, W) in [0, 1].

    Args:
        network: the autoencoder.
        latents: on any device.
        size: height and width of the frames that were encoded; what padding added is cut off. All is kept where None.
        chunk: frames that pass it together; as many as hold `CHUNK_PIXELS` where None.
    """
    flat, factor = latents.flatten(0, -4), downscaling(network)
    parts = []
    for part in flat.split(chunk or _chunk(flat.shape[-2] * factor, flat.shape[-1] * factor)):
        pictures = network.decode(part.to(network.device).to(network.dtype)).sample
        pictures = pictures if size is None else cropped(pictures, size)
        parts.append((pictures / 2 + 0.5).clamp(0, 1))
    return torch.cat(parts).unflatten(0, latents.shape[:-3])


def sampled(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Latents of the posterior, `mean + exp(log_variance / 2) * noise`, in the precision of the noise."""
    return mean.to(noise.dtype) + (log_variance.to(noise.dtype) / 2).exp() * noise


def padded(frames: Tensor, factor: int) -> Tensor:
    """Frames (N, C, H, W) with sides that a factor divides: the last row and column are repeated.

    Nothing is scaled or moved: a point at (x, y) pixels stays there, and `cropped` is the way back.
    """
    height, width = frames.shape[-2:]
    below, right = -height % factor, -width % factor
    return F.pad(frames, (0, right, 0, below), mode="replicate") if below or right else frames


def cropped(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """The first H rows and W columns of frames (..., h, w), which `padded` added to."""
    return frames[..., : size[0], : size[1]]


def downscaling(network: "AutoencoderKL") -> int:
    """How many pixels of a side one latent stands for, f."""
    return 2 ** (len(network.config.block_out_channels) - 1)


def latent_size(network: "AutoencoderKL", height: int, width: int) -> tuple[int, int]:
    """Rows and columns of latents of a picture: ceil(H / f) and ceil(W / f)."""
    factor = downscaling(network)
    return -(-height // factor), -(-width // factor)


def _chunk(height: int, width: int) -> int:
    return max(1, CHUNK_PIXELS // max(1, height * width))
