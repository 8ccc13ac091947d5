"""EDM's noise: x = x0 + sigma noise, with sigma of any size (Karras et al. 2022)."""

import torch
from torch import Tensor

from models.diffusion.noise import Random, Scales

RHO = 7


class EDMNoise:
    """x = x0 + sigma noise; a level is sigma. In float32: sigma reaches from thousandths to hundreds.

    Args:
        sigma_min: smallest sigma of sampling.
        sigma_max: largest; samples begin there.
        mean: of log sigma in training. SVD has 0.7 (-1.2 is Karras et al.'s for pictures).
        std: of log sigma in training. SVD has 1.6 (1.2).

    Raises:
        ValueError: sigmas that are not in order, or no spread.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, mean: float = -1.2, std: float = 1.2):
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"sigma_min has to be above 0 and below sigma_max, got {sigma_min} and {sigma_max}")
        if not std > 0:
            raise ValueError(f"the spread of log sigma has to be above 0, got {std}")
        self.sigma_min, self.sigma_max, self.mean, self.std = sigma_min, sigma_max, mean, std

    def draw(self, random: Random) -> Tensor:
        """Sigmas (B,): their logarithm is normal."""
        return (self.mean + self.std * random.normal()).exp()

    def scales(self, levels: Tensor, like: Tensor) -> Scales:
        """1 and sigma, (B,) shaped to multiply `like` (B, ...), float32."""
        sigma = levels.to(like.device, torch.float32).view(-1, *[1] * (like.ndim - 1))
        return Scales(torch.ones_like(sigma), sigma)

    def add(self, x0: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """x0 (B, ...) + sigma noise, for sigmas (B,)."""
        return x0 + self.scales(levels, x0).sigma * noise

    def levels(self, steps: int) -> Tensor:
        """Sigmas (steps,) from sigma_max to sigma_min, evenly spread in their 1/7th power (Eq. 5, rho = 7).

        Raises:
            ValueError: less than one step.
        """
        if steps < 1:
            raise ValueError(f"sampling steps have to be at least 1, got {steps}")
        ends = torch.tensor([self.sigma_max, self.sigma_min], dtype=torch.float64) ** (1 / RHO)
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        return (torch.lerp(ends[0], ends[1], ramp) ** RHO).float()

    def start(self, noise: Tensor) -> Tensor:
        """sigma_max noise."""
        return self.sigma_max * noise

    def snr(self, levels: Tensor) -> Tensor:
        """1 / sigma^2."""
        return levels.float() ** -2
