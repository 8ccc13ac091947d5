"""The camera through which a fitted body is seen.

The world's origin is the camera, level with the ground as far as anybody knows: metres, x to the right in the picture,
y up, and the camera looks along -z. A person who faces the camera faces +z, as SMPL-X's rest pose does, and their own
left is on the picture's right.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import Final

import numpy as np
import torch
from torch import Tensor

NEAREST: Final = 0.05
"""Metres in front of the camera; what is nearer, or behind it, is seen as from here."""


@dataclass(frozen=True)
class Camera:
    """A pinhole without distortion; lengths are fractions of the frame's width.

    Args:
        focal: focal length.
        across, down: where the axis meets the picture, from its left and upper edge.
    """

    focal: float
    across: float
    down: float

    @classmethod
    def of(cls, width: int, height: int, focal: float | None = None) -> Camera:
        """The camera of a picture of `width` by `height` pixels, its axis in the middle.

        Without a stated focal length it is the picture's diagonal, 53 degrees across it: the usual guess for pictures
        from anywhere (Kissos et al. 2020).
        """
        return cls(hypot(1, height / width) if focal is None else focal, 0.5, 0.5 * height / width)

    def array(self) -> np.ndarray:
        """As `smplx.npz` stores it: (3,) float32."""
        return np.array([self.focal, self.across, self.down], np.float32)

    def project(self, points: Tensor) -> Tensor:
        """Where points (..., 3) are in the picture: (..., 2) to the right and down, in fractions of its width."""
        x, y, z = points.unbind(-1)
        scale = self.focal / (-z).clamp(min=NEAREST)
        return torch.stack([self.across + scale * x, self.down - scale * y], -1)
