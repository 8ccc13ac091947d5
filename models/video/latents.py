"""Frames to latents of a variational autoencoder and back, in chunks: the same for shards, training and sampling."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from models.video.temporal_decoding import decode_chunks, is_temporal

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
        network: the autoencoder. Where its decoder mixes frames, those are the axis in front of C.
        latents: on any device.
        size: height and width of the frames that were encoded; what padding added is cut off. All is kept where None.
        chunk: frames that pass it together; as many as hold `CHUNK_PIXELS` where None.
    """
    flat, before = latents.flatten(0, -4), latents.shape[:-3]
    if not is_temporal(network):
        return torch.cat(list(decode_pieces(network, [flat], size, chunk))).unflatten(0, before)
    videos = flat.unflatten(0, (-1, before[-1]))
    return torch.cat([f for video in videos for f in decode_pieces(network, [video], size, chunk)]).unflatten(0, before)


@torch.no_grad()
def decode_pieces(
    network: "AutoencoderKL", pieces: Iterable[Tensor], size: tuple[int, int] | None = None, chunk: int | None = None
) -> Iterator[Tensor]:
    """The same of a video whose latents (n, C, h, w) come in pieces: its frames (m, 3, H, W), as they become final."""
    if is_temporal(network):
        decoded = (frames[0] for frames in _mixed(network, pieces, chunk))
    else:
        decoded = _each(network, pieces, chunk)
    for frames in decoded:
        frames = frames if size is None else cropped(frames, size)
        yield (frames / 2 + 0.5).clamp(0, 1)


def _each(network: "AutoencoderKL", pieces: Iterable[Tensor], chunk: int | None) -> Iterator[Tensor]:
    """By a decoder that sees frames alone."""
    for piece in pieces:
        for part in piece.split(chunk or _chunk_of(network, piece)):
            yield network.decode(part.to(network.device).to(network.dtype)).sample


def _mixed(network: Any, pieces: Iterable[Tensor], chunk: int | None) -> Iterator[Tensor]:
    """By a decoder that mixes them; (1, m, 3, H, W)."""
    latents = iter(pieces)
    first = next(latents, None)
    if first is not None:
        many = (piece[None] for piece in chain([first], latents))
        yield from decode_chunks(network, many, chunk or max(2, _chunk_of(network, first)))


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


def _chunk_of(network: "AutoencoderKL", latents: Tensor) -> int:
    factor = downscaling(network)
    return _chunk(latents.shape[-2] * factor, latents.shape[-1] * factor)


def _chunk(height: int, width: int) -> int:
    return max(1, CHUNK_PIXELS // max(1, height * width))
