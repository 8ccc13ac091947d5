"""Noise schedules: how much of the signal is left at each diffusion step. diffusers does the arithmetic."""

from typing import Any, Final

import torch
from torch import Tensor

SCHEDULES: Final[dict[str, dict[str, Any]]] = {
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}


def schedule_options(name: str, train_steps: int, parameterisation: str) -> dict[str, Any]:
    """Arguments of a diffusers scheduler for a named schedule.

    Args:
        name: one of `SCHEDULES`.
        train_steps: diffusion steps in training.
        parameterisation: what the network predicts: "epsilon", "x0" or "v".

    Raises:
        ValueError: an unknown name.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown noise schedule '{name}'; known: {', '.join(SCHEDULES)}")
    names = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
    if parameterisation not in names:
        raise ValueError(f"unknown parameterisation '{parameterisation}'; known: {', '.join(names)}")
    return {
        **SCHEDULES[name],
        "num_train_timesteps": train_steps,
        "prediction_type": names[parameterisation],
        "clip_sample": False,
    }


class NoiseSchedule:
    """The forward process x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise.

    Args:
        name: one of `SCHEDULES`.
        train_steps: number of steps; t runs from 0 to train_steps - 1.
    """

    def __init__(self, name: str = "cosine", train_steps: int = 1000):
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        self.train_steps = train_steps
        self._scheduler = DDPMScheduler(**schedule_options(name, train_steps, "epsilon"))
        self.alphas_cumprod: Tensor = self._scheduler.alphas_cumprod

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of x0 (B, ...) at steps (B,)."""
        return self._scheduler.add_noise(x0, noise, timesteps)

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal-to-noise ratio abar / (1 - abar) at steps (B,)."""
        alpha = self.alphas_cumprod.to(timesteps.device)[timesteps]
        return alpha / (1 - alpha)

    def signal(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar) at steps (B,), shaped to multiply `like` (B, ...)."""
        alpha = self.alphas_cumprod.to(like.device, torch.float32)[timesteps].to(like.dtype)
        alpha = alpha.view(-1, *[1] * (like.ndim - 1))
        return alpha.sqrt(), (1 - alpha).sqrt()
