"""DDIM for any noise (Song et al. 2021); with EDM's that is Euler's method on its differential equation."""

from typing import Any

import torch
from torch import Tensor

from models.diffusion.guiders import Denoiser
from models.diffusion.noise import Noise, Scales


class DDIM:
    """x' = a' x0 + sqrt(b'^2 - s^2) noise + s fresh noise, with noise = (x - a x0) / b at signal a and sigma b.

    diffusers' own scheduler steps by a whole number of timesteps, which misses the next one where the steps do not
    divide those of training, and its Euler schedulers count their calls, so that no step can be taken twice.

    Args:
        denoise: gives x0, as a guider prepared it.
        noise: as in training.
        steps: how many.
        eta: 0 takes no fresh noise; 1 as much as DDPM does (s^2 is eta^2 times the posterior's variance).
        generator: of fresh noise, a stream on the device of the samples.

    Raises:
        ValueError: a number of steps that the noise does not have.
    """

    def __init__(
        self, denoise: Denoiser, noise: Noise, steps: int, eta: float = 0.0, generator: torch.Generator | None = None
    ):
        self.denoise, self.noise, self.eta, self.generator = denoise, noise, eta, generator
        self.levels = noise.levels(steps)
        self._places = {level: place for place, level in enumerate(self.levels.tolist())}
        self._kind: tuple[Any, ...] | None = None
        self._table: Scales

    def run(self, noise: Tensor) -> Tensor:
        """Standard normal noise (B, ...) to x0 (B, ...)."""
        z = self.noise.start(noise)
        for level in self.levels:
            z = self.step(z, level)
        return z

    def step(self, z: Tensor, level: Tensor) -> Tensor:
        """Ask the network at one of `levels`, and go on to the next; from the last, to x0."""
        return self.advance(z, self.denoise(z, level.to(z.device).expand(len(z))), level)

    def advance(self, z: Tensor, x0: Tensor, level: Tensor) -> Tensor:
        """The step from z (B, ...) at a level to the next, where x0 (B, ...) is known already."""
        place = self._places[level.item()]
        if place + 1 == len(self._places):
            return x0
        signal, sigma = self._scales(place, z)
        next_signal, next_sigma = self._scales(place + 1, z)
        noise = (z - signal * x0) / sigma
        if self.eta == 0:
            return next_signal * x0 + next_sigma * noise
        kept = (signal / next_signal * next_sigma / sigma).square()  # what of the variance is the posterior's not
        fresh = self.eta**2 * next_sigma.square() * (1 - kept)
        drawn = torch.randn(z.shape, generator=self.generator, device=z.device, dtype=z.dtype)
        return next_signal * x0 + (next_sigma.square() - fresh).sqrt() * noise + fresh.sqrt() * drawn

    def _scales(self, place: int, like: Tensor) -> Scales:
        """At a level by its place; those of all levels are looked up once, as small steps take no longer than that."""
        kind = (like.device, like.dtype, like.ndim)
        if self._kind != kind:
            shaped = like.new_empty(len(self.levels), *[1] * (like.ndim - 1))
            self._kind, self._table = kind, self.noise.scales(self.levels.to(like.device), shaped)
        return Scales(*(part[place : place + 1] for part in self._table))
