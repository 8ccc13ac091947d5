"""DDPM's noise in a given number of steps (Ho et al. 2020). diffusers computes the schedules."""

from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from models.diffusion.noise import Random, Scales

Schedule = Literal["cosine", "linear", "scaled_linear"]
BETAS: Final[dict[str, dict[str, Any]]] = {
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}


class DDPMNoise:
    """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise; a level is a timestep t, from 0 to train_steps - 1.

    Args:
        schedule: how the betas run: "cosine" (Nichol and Dhariwal 2021), "linear" (Ho et al. 2020) or "scaled_linear"
            (Rombach et al. 2022: linear in the root).
        train_steps: number of timesteps.
        zero_terminal_snr: the betas are rescaled so that nothing of the signal is left at the last timestep (Lin et al.
            2024).

    Raises:
        ValueError: an unknown schedule.
    """

    def __init__(self, schedule: str = "cosine", train_steps: int = 1000, zero_terminal_snr: bool = False):
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        if schedule not in BETAS:
            raise ValueError(f"unknown noise schedule '{schedule}'; known: {', '.join(get_args(Schedule))}")
        self.schedule, self.train_steps, self.zero_terminal_snr = schedule, train_steps, zero_terminal_snr
        self._scheduler = DDPMScheduler(
            **BETAS[schedule], num_train_timesteps=train_steps, rescale_betas_zero_snr=zero_terminal_snr
        )
        self.alphas_cumprod: Tensor = self._scheduler.alphas_cumprod
        alpha = self.alphas_cumprod.to(torch.float32)
        self._roots = alpha.sqrt(), (1 - alpha).sqrt()

    def draw(self, random: Random) -> Tensor:
        """Timesteps (B,), each as likely as the other."""
        return random.integers(0, self.train_steps)

    def scales(self, levels: Tensor, like: Tensor) -> Scales:
        """sqrt(abar) and sqrt(1 - abar) at timesteps (B,), shaped to multiply `like` (B, ...)."""
        shape = -1, *[1] * (like.ndim - 1)
        return Scales(*(root.to(like.device)[levels].view(shape).to(like.dtype) for root in self._roots))

    def add(self, x0: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """x_t of x0 (B, ...) at timesteps (B,)."""
        return self._scheduler.add_noise(x0, noise, levels)

    def levels(self, steps: int) -> Tensor:
        """Timesteps (steps,) spread evenly, the last of training first (Lin et al. 2024: "trailing").

        Raises:
            ValueError: steps not between 1 and train_steps.
        """
        if not 1 <= steps <= self.train_steps:
            raise ValueError(f"sampling steps have to be between 1 and {self.train_steps}, got {steps}")
        every = torch.arange(steps, dtype=torch.float64) * (self.train_steps / steps)
        return (self.train_steps - every).round().long() - 1

    def start(self, noise: Tensor) -> Tensor:
        """The noise as it is."""
        return noise

    def snr(self, levels: Tensor) -> Tensor:
        """abar / (1 - abar) at timesteps (B,)."""
        alpha = self.alphas_cumprod.to(levels.device)[levels]
        return alpha / (1 - alpha)
