"""Embeddings of scalars."""

import math

import torch
from torch import Tensor, nn


class TimestepEmbedding(nn.Module):
    """Diffusion step to a vector: sines and cosines of a geometric series of frequencies, then a small MLP.

    Args:
        width: number of sines and cosines, even.
        outputs: channels of the result.
    """

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, outputs))

    def forward(self, timesteps: Tensor) -> Tensor:
        """(B,) steps to (B, outputs)."""
        half = self.width // 2
        series = torch.arange(half, device=timesteps.device, dtype=torch.float32) * (-math.log(10_000) / (half - 1))
        angles = timesteps[:, None].float() * series.exp()
        return self.mlp(torch.cat([angles.sin(), angles.cos()], -1).to(next(self.mlp.parameters()).dtype))
