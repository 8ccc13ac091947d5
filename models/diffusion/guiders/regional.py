"""Guidance by classifiers that judge regions: sequential (SG) and differential (DG) (PAHA, Eq. 8-12, Algorithm 1)."""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

Judge = Callable[[Tensor, Tensor], Tensor]
"""Noisy samples (B, ...) and their levels (B,) to a loss (B,) that is less where the region suits its speech better."""

Differential = Literal["off", "residual", "literal"]
Gradients = Literal["sequential", "together"]
_DIFFERENTIALS: Final = get_args(Differential)


class Sampler(Protocol):
    """What is guided: a sampler that goes from level to level."""

    levels: Tensor
    noise: Any

    def step(self, z: Tensor, level: Tensor) -> Tensor:
        """From z (B, ...) at one of the levels to the next."""
        ...


class Sampling(Protocol):
    """How guidance comes into whatever makes videos window by window."""

    def __call__(self, sampler: Sampler, begin: int, end: int) -> Callable[[Tensor], Tensor]:
        """A window's sampler, its first frame and that behind its last, to what brings noise to x0."""
        ...


class Weights(NamedTuple):
    """How far guidance goes (PH-17)."""

    nonface: float = 1.0
    face: float = 0.1
    differential: float = 0.25


class Corrected(NamedTuple):
    """What classifiers make of a sample z (B, ...): corrected outside the face, in the face, and by both."""

    nonface: Tensor
    face: Tensor
    both: Tensor


class RegionalGuidance:
    """Samples with corrections between the steps of a solver.

    After each of the first steps z is moved against the gradient of each classifier's loss inside its region (SG):

        z_nonface = z - l_nonface sigma grad D_nonface(z) M_nonface                         (Eq. 8)
        z_face    = z - l_face sigma grad D_face(z_nonface) M_face                          (Eq. 9, Algorithm 1, line 5)
        z*        = z_face + z_nonface - z                                                  (Eq. 10)

    and the solver f goes on from z* (Eq. 11). DG adds what the solver makes of the two apart: f(z*) + l_diff times
    (f(z_nonface) - f(z*)) M_face + (f(z_face) - f(z*)) M_nonface; "literal" is Eq. 12 as printed, without the
    differences, which adds a quarter of a whole sample at every step (PH-16).

    Args:
        sampler: the solver; any with `levels`, `noise` and `step`.
        nonface: judges what is outside the face; None leaves that correction out.
        face: judges the face; None likewise.
        masks: M_nonface and M_face, each broadcast to samples.
        rate: share of the steps after which is guided, from the first on; 0 is no guidance, bit for bit (PH-17).
        weights: how far.
        differential: whether DG, and how.
        gradients: "sequential" takes the face's gradient at z_nonface (PH-15), "together" both at z (ours).

    Raises:
        ValueError: a rate outside 0 to 1, an unknown kind, or DG without both classifiers.
    """

    def __init__(
        self,
        sampler: Sampler,
        nonface: Judge | None,
        face: Judge | None,
        masks: tuple[Tensor, Tensor],
        *,
        rate: float = 0.5,
        weights: Weights = Weights(),
        differential: Differential = "off",
        gradients: Gradients = "sequential",
    ):
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of guidance is a share of the steps, 0 to 1; got {rate}")
        if differential not in _DIFFERENTIALS or gradients not in get_args(Gradients):
            raise ValueError(
                f"differential is one of {', '.join(_DIFFERENTIALS)}, gradients of {', '.join(get_args(Gradients))}; "
                f"got '{differential}' and '{gradients}'"
            )
        if differential != "off" and (nonface is None or face is None):
            raise ValueError("differential guidance compares two classifiers: give both, or differential='off'")
        self.sampler, self.nonface, self.face = sampler, nonface, face
        self.mask_nonface, self.mask_face = masks
        self.weights, self.differential, self.gradients = weights, differential, gradients
        count = len(sampler.levels)
        # Behind the last step no noise is left, by which a correction is measured.
        self.corrections = min(round(rate * count), count - 1)

    def run(self, noise: Tensor) -> Tensor:
        """Standard normal noise (B, ...) to x0 (B, ...).

        Raises:
            ValueError: a classifier's gradient is not finite; which one, and at which step.
        """
        sampler = self.sampler
        z, corrected = sampler.noise.start(noise), None
        for number, level in enumerate(sampler.levels):
            z = self._step(z, corrected, level)
            corrected = None
            if number < self.corrections:
                corrected = self.correct(z, sampler.levels[number + 1], number + 1)
                z = corrected.both
        return z

    def correct(self, z: Tensor, level: Tensor, number: int = 0) -> Corrected:
        """What classifiers make of z (B, ...) at a level; `number` of the step is for messages."""
        sigma = self.sampler.noise.scales(level.to(z.device)[None], z).sigma
        away = self.weights.nonface * sigma * self._gradient("nonface", self.nonface, z, level, number)
        nonface = z - away * self.mask_nonface
        at = nonface if self.gradients == "sequential" else z
        away = self.weights.face * sigma * self._gradient("face", self.face, at, level, number)
        face = z - away * self.mask_face
        return Corrected(nonface, face, face + nonface - z)

    def _step(self, z: Tensor, corrected: Corrected | None, level: Tensor) -> Tensor:
        following = self.sampler.step(z, level)
        if self.differential == "off" or corrected is None:
            return following
        nonface, face = (self.sampler.step(each, level) for each in (corrected.nonface, corrected.face))
        if self.differential == "residual":
            nonface, face = nonface - following, face - following
        return following + self.weights.differential * (nonface * self.mask_face + face * self.mask_nonface)

    def _gradient(self, name: str, judge: Judge | None, z: Tensor, level: Tensor, number: int) -> Tensor:
        """Of a classifier's loss by z (B, ...)."""
        if judge is None:
            return torch.zeros_like(z)
        with torch.enable_grad():
            asked = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(judge(asked, level.to(z.device).expand(len(z))).sum(), asked)
        if not gradient.isfinite().all():
            raise ValueError(
                f"the gradient of the {name} classifier is not finite after step {number}: its weights hold NaN, or it "
                "has overflowed (run it in float32)"
            )
        return gradient
