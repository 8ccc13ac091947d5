"""Units of body motion: its mean and deviation over a data set, as buffers of the networks that read it (VA-1)."""

from typing import Any

import torch
from torch import Tensor, nn

from models.human.motion import PARTS, SIZE


class MotionUnits(nn.Module):
    """A network that takes motion vectors in units of their deviation about their mean.

    Both are zeros and ones until `set_statistics`, and travel with the weights.
    """

    motion_mean: Tensor
    motion_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("motion_mean", torch.zeros(SIZE))
        self.register_buffer("motion_std", torch.ones(SIZE))

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take mean and deviation of motion vectors from a data set's statistics (`index.json`).

        Deviations are averaged within each part of the vector, as HumanML3D does, so that a part's numbers keep their
        sizes to each other.

        Raises:
            ValueError: there are none.
        """
        if "body_motion" not in statistics:
            raise ValueError("the data's index.json has no statistics of body motion (body_motion)")
        mean, std = (torch.tensor(statistics["body_motion"][name], dtype=torch.float64) for name in ("mean", "std"))
        for part in PARTS.values():
            std[part] = std[part].mean()
        self.motion_mean.copy_(mean)
        self.motion_std.copy_(std)

    def normalise(self, motion: Tensor) -> Tensor:
        """Motion (..., 263) in units of its deviation about its mean."""
        return (motion - self.motion_mean) / self.motion_std

    def denormalise(self, motion: Tensor) -> Tensor:
        """What `normalise` was given."""
        return motion * self.motion_std + self.motion_mean
