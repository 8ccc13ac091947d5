"""Tiny autoencoders with random weights, saved as published ones are."""

from pathlib import Path

import torch

FACTOR = 4


def save_autoencoder(folder: Path, seed: int = 0) -> Path:
    """Save one that makes a latent of 4 x 4 pixels; gives the folder."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=2,
        latent_channels=4,
    ).save_pretrained(folder)
    return folder


def save_temporal_autoencoder(folder: Path, seed: int = 0) -> Path:
    """Save SVD's kind, whose decoder mixes frames, that makes a latent of 4 x 4 pixels; gives the folder."""
    from diffusers import AutoencoderKLTemporalDecoder

    torch.manual_seed(seed)
    AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3, latent_channels=4
    ).save_pretrained(folder)
    return folder
