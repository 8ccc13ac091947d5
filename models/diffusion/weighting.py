"""How much the loss of each diffusion step counts."""

from typing import Literal

import torch
from torch import Tensor

from models.diffusion.parameterisation import Parameterisation
from models.diffusion.schedule import NoiseSchedule

Weighting = Literal["uniform", "min_snr"]


def loss_weight(
    kind: Weighting, schedule: NoiseSchedule, timesteps: Tensor, predicts: Parameterisation, gamma: float = 5.0
) -> Tensor:
    """Weights (B,) of the squared errors of a batch.

    "uniform" is 1. "min_snr" is min(SNR, gamma) as an error of x0, brought to what the network predicts (Hang et al.
    2023).

    Args:
        kind: which weighting.
        schedule: gives the signal-to-noise ratio.
        timesteps: (B,) diffusion steps.
        predicts: what the squared error is of.
        gamma: of min-SNR.
    """
    if kind == "uniform":
        return torch.ones(len(timesteps), device=timesteps.device)
    snr = schedule.snr(timesteps)
    clipped = snr.clamp(max=gamma)
    return {"x0": clipped, "epsilon": clipped / snr, "v": clipped / (snr + 1)}[predicts]
