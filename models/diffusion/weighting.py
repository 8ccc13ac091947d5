"""How much the loss of each noise level counts."""

from typing import Literal

import torch
from torch import Tensor

from models.diffusion.noise import Noise

Weighting = Literal["uniform", "min_snr"]
Predicted = Literal["epsilon", "x0", "v"]


def loss_weight(kind: Weighting, noise: Noise, levels: Tensor, predicts: Predicted, gamma: float = 5.0) -> Tensor:
    """Weights (B,) of the squared errors of a batch.

    "uniform" is 1. "min_snr" is min(SNR, gamma) as an error of x0, brought to what the network predicts (Hang et al.
    2023).

    Args:
        kind: which weighting.
        noise: gives the signal-to-noise ratio.
        levels: (B,) noise levels.
        predicts: what the squared error is of.
        gamma: of min-SNR.
    """
    if kind == "uniform":
        return torch.ones(len(levels), device=levels.device)
    snr = noise.snr(levels)
    clipped = snr.clamp(max=gamma)
    return {"x0": clipped, "epsilon": clipped / snr, "v": clipped / (snr + 1)}[predicts]
