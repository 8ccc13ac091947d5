"""Frames to latents of a variational autoencoder, the same for shards and for a training step."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@torch.no_grad()
def moments_of(network: "AutoencoderKL", frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (N, 3, H, W) uint8 to mean and log-variance (N, C, H / f, W / f), not scaled.

    A latent is `mean + exp(log_variance / 2) * noise`; networks see it times the autoencoder's
    `config.scaling_factor`, and the decoder takes it unscaled. f is `downscaling(network)`.
    """
    images = frames.to(network.device).contiguous().to(network.dtype) / 127.5 - 1
    encoded = network.encode(images).latent_dist
    return encoded.mean, encoded.logvar


def downscaling(network: "AutoencoderKL") -> int:
    """How many pixels of a side one latent stands for; sizes of frames are multiples of it."""
    return 2 ** (len(network.config.block_out_channels) - 1)
