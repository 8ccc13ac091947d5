"""Noise on a reference picture: a network that is told how much of it there is trusts the picture by that much."""

from typing import Final

from torch import Tensor

from models.diffusion.noise import Random

MEAN: Final = -3.0
STD: Final = 0.5
"""Of the logarithm of the strength in SVD's training (Blattmann et al. 2023)."""


def draw_strength(random: Random, mean: float = MEAN, std: float = STD) -> Tensor:
    """Strengths (B,) for training: their logarithm is normal."""
    return (mean + std * random.normal()).exp()


def augmented(reference: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
    """Latents of a picture (B, ...) with noise of a strength (B,) on them.

    SVD puts it on the picture before that is encoded; here it is on its scaled latents (ours), which may have been
    written to shards long before.
    """
    return reference + strength.view(-1, *[1] * (reference.ndim - 1)).to(reference) * noise
