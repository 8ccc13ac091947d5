"""How noise is added: x = signal x0 + sigma noise, by level."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Scales(NamedTuple):
    """Factors of a noise level, shaped to multiply samples (B, ...): x = signal x0 + sigma noise."""

    signal: Tensor
    sigma: Tensor


class Random(Protocol):
    """Draws random numbers for a batch, a row each."""

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from low to high - 1, (B, *shape) int64."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (B, *shape)."""
        ...


class Noise(Protocol):
    """A forward process. One object trains a network and samples it."""

    def draw(self, random: Random) -> Tensor:
        """Levels (B,) for training."""
        ...

    def scales(self, levels: Tensor, like: Tensor) -> Scales:
        """Signal and sigma at levels (B,), shaped to multiply `like` (B, ...)."""
        ...

    def add(self, x0: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """The noisy sample of x0 (B, ...) at levels (B,)."""
        ...

    def levels(self, steps: int) -> Tensor:
        """Levels (steps,) at which sampling in so many steps stands, noisiest first."""
        ...

    def start(self, noise: Tensor) -> Tensor:
        """What sampling begins with, from standard normal noise (B, ...)."""
        ...

    def snr(self, levels: Tensor) -> Tensor:
        """Signal-to-noise ratio, signal^2 / sigma^2, at levels (B,)."""
        ...
