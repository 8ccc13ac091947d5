"""What a network is given and what its output means: noise, x0, velocity, or a mixture by noise level (EDM)."""

from collections.abc import Callable
from typing import Final, Protocol

from torch import Tensor

from models.diffusion.noise import Noise, Scales


class Preconditioning(Protocol):
    """Translates between a network's output and x0, at the scales of a noise level."""

    def inputs(self, x: Tensor, scales: Scales) -> Tensor:
        """What the network is given of the noisy sample x (B, ...)."""
        ...

    def x0(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """The clean sample that an output means."""
        ...

    def noise(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """The noise that an output means."""
        ...

    def target(self, x0: Tensor, noise: Tensor, scales: Scales) -> Tensor:
        """What the network should have put out."""
        ...


class X0:
    """The output is the clean sample."""

    def inputs(self, x: Tensor, scales: Scales) -> Tensor:
        """x as it is."""
        return x

    def x0(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """The output."""
        return output

    def noise(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """(x - signal output) / sigma."""
        return (x - scales.signal * output) / scales.sigma

    def target(self, x0: Tensor, noise: Tensor, scales: Scales) -> Tensor:
        """x0."""
        return x0


class Epsilon:
    """The output is the noise (Ho et al. 2020)."""

    def inputs(self, x: Tensor, scales: Scales) -> Tensor:
        """x as it is."""
        return x

    def x0(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """(x - sigma output) / signal."""
        return (x - scales.sigma * output) / scales.signal

    def noise(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """The output."""
        return output

    def target(self, x0: Tensor, noise: Tensor, scales: Scales) -> Tensor:
        """The noise."""
        return noise


class V:
    """The output is the velocity v = signal noise - sigma x0 (Salimans and Ho 2022).

    With noise whose signal and sigma are not on the unit circle (EDM's), both x and the scales are brought there first,
    which is how SVD's network is used.
    """

    def inputs(self, x: Tensor, scales: Scales) -> Tensor:
        """x / sqrt(signal^2 + sigma^2): as it is, for DDPM's noise."""
        return x / _length(scales)

    def x0(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """signal x - sigma output, of x and scales on the unit circle."""
        length = _length(scales)
        return scales.signal / length**2 * x - scales.sigma / length * output

    def noise(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """sigma x + signal output, likewise."""
        length = _length(scales)
        return scales.sigma / length**2 * x + scales.signal / length * output

    def target(self, x0: Tensor, noise: Tensor, scales: Scales) -> Tensor:
        """signal noise - sigma x0, likewise."""
        return (scales.signal * noise - scales.sigma * x0) / _length(scales)


class EDM:
    """Output, x and x0 all have a usual size at every level (Karras et al. 2022, Table 1), for any noise.

    x0 = s^2 a x / d^2 + o b F / d with signal a, noise b, d^2 = s^2 a^2 + b^2 and the network's output F: where
    there is little noise, x itself is kept; where there is much, the network says all.

    Args:
        sigma_data: s, the spread of x0.
        output: o, what the output is multiplied with at much noise; s, unless told otherwise.
        scale_inputs: whether the network is given x / d rather than x.

    Raises:
        ValueError: no spread.
    """

    def __init__(self, sigma_data: float = 0.5, output: float | None = None, scale_inputs: bool = True):
        if not sigma_data > 0:
            raise ValueError(f"sigma_data has to be above 0, got {sigma_data}")
        self.sigma_data = sigma_data
        self.output = sigma_data if output is None else output
        self.scale_inputs = scale_inputs

    def inputs(self, x: Tensor, scales: Scales) -> Tensor:
        """x / d, or x as it is."""
        return x / self._length(scales) if self.scale_inputs else x

    def x0(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """s^2 a x / d^2 + o b output / d."""
        length = self._length(scales)
        return self.sigma_data**2 * scales.signal / length.square() * x + self.output * scales.sigma / length * output

    def noise(self, output: Tensor, x: Tensor, scales: Scales) -> Tensor:
        """b x / d^2 - o a output / d."""
        length = self._length(scales)
        return scales.sigma / length.square() * x - self.output * scales.signal / length * output

    def target(self, x0: Tensor, noise: Tensor, scales: Scales) -> Tensor:
        """The output whose x0 is right: (b x0 - s^2 a noise) / (o d)."""
        length = self._length(scales)
        return (scales.sigma * x0 - self.sigma_data**2 * scales.signal * noise) / (self.output * length)

    def _length(self, scales: Scales) -> Tensor:
        return (scales.sigma.square() + (self.sigma_data * scales.signal).square()).sqrt()


PRECONDITIONING: Final[dict[str, Callable[[], Preconditioning]]] = {"epsilon": Epsilon, "x0": X0, "v": V, "edm": EDM}


def preconditioning(name: str, noise: Noise) -> Preconditioning:
    """What a network of this name predicts, for this noise.

    Raises:
        ValueError: an unknown name, or noise prediction where the last timestep holds no signal: x0 would be divided by
            zero.
    """
    if name not in PRECONDITIONING:
        raise ValueError(f"unknown prediction '{name}'; known: {', '.join(PRECONDITIONING)}")
    if name == "epsilon" and getattr(noise, "zero_terminal_snr", False):
        raise ValueError(
            "prediction of the noise does not go with zero_terminal_snr: at the last timestep x0 would be divided by "
            "zero; predict 'v'"
        )
    return PRECONDITIONING[name]()


def _length(scales: Scales) -> Tensor:
    return (scales.signal.square() + scales.sigma.square()).sqrt()
