"""What a network predicts: the noise (epsilon), the clean sample (x0) or the velocity (v)."""

from typing import Literal

from torch import Tensor

from models.diffusion.schedule import NoiseSchedule

Parameterisation = Literal["epsilon", "x0", "v"]


def target(kind: Parameterisation, schedule: NoiseSchedule, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network should have predicted: noise, x0, or v = sqrt(abar) noise - sqrt(1 - abar) x0."""
    if kind == "x0":
        return x0
    if kind == "epsilon":
        return noise
    signal, sigma = schedule.signal(timesteps, x0)
    return signal * noise - sigma * x0


def to_x0(kind: Parameterisation, schedule: NoiseSchedule, output: Tensor, x_t: Tensor, timesteps: Tensor) -> Tensor:
    """The clean sample that a prediction means, given x_t."""
    if kind == "x0":
        return output
    signal, sigma = schedule.signal(timesteps, x_t)
    if kind == "epsilon":
        return (x_t - sigma * output) / signal
    return signal * x_t - sigma * output
