"""DPM-Solver++ (2M) for any noise (Lu et al. 2022, algorithm 2): few steps, for what has to be in time."""

import math

import torch
from torch import Tensor

from models.diffusion.guiders import Denoiser
from models.diffusion.noise import Noise


class DPMSolver:
    """x' = b'/b x - a' (exp(-h) - 1) D with h the step in log(a/b) at signal a and sigma b, for any noise.

    D is x0 as it is said now, carried on along the line from what was said a step before. The first step knows of none,
    and the last ends at x0. Without the line it would be DDIM.

    Args:
        denoise: gives x0, as a guider prepared it.
        noise: as in training.
        steps: how many.

    Raises:
        ValueError: a number of steps that the noise does not have.
    """

    def __init__(self, denoise: Denoiser, noise: Noise, steps: int):
        self.denoise, self.noise = denoise, noise
        self.levels = noise.levels(steps)
        signal, sigma = noise.scales(self.levels, torch.zeros(steps, 1, dtype=torch.float64))
        self._signal, self._sigma = signal.flatten().tolist(), sigma.flatten().tolist()

    def run(self, noise: Tensor) -> Tensor:
        """Standard normal noise (B, ...) to x0 (B, ...)."""
        z, before = self.noise.start(noise), None
        for place, level in enumerate(self.levels):
            x0 = self.denoise(z, level.to(z.device).expand(len(z)))
            z = self._advance(z, x0, place, before)
            before = x0
        return z

    def step(self, z: Tensor, level: Tensor) -> Tensor:
        """Ask the network at one of `levels`, and go on to the next as if it were the first; from the last, to x0."""
        place = int((self.levels == level.to(self.levels.device)).nonzero()[0])
        return self._advance(z, self.denoise(z, level.to(z.device).expand(len(z))), place, None)

    def _advance(self, z: Tensor, x0: Tensor, place: int, before: Tensor | None) -> Tensor:
        following = place + 1
        if following == len(self.levels):
            return x0
        step = self._distance(place, following)
        if before is not None:
            x0 = x0 + (x0 - before) * (step / self._distance(place - 1, place) / 2)
        ratio = self._sigma[following] / self._sigma[place]
        return ratio * z - self._signal[following] * math.expm1(-step) * x0

    def _distance(self, one: int, other: int) -> float:
        """From one level to another, in log(signal / sigma)."""
        first, second = (math.log(self._signal[place] / self._sigma[place]) for place in (one, other))
        return second - first
