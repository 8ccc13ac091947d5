"""The face points of a clip as the head template is fitted to them, and the template's points in frames of the clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import Fit
from models.chatanyone.grid import to_grid
from models.chatanyone.head_linear import SeenFace
from models.human.keypoints import FACE

MINIMUM_SCORE: Final = 0.3  # points below it are not drawn (`models.human.draw`), so they tell no shape either


def aspect_of(info: ClipInfo) -> float:
    """Width of a clip's frames over their height; 1 where nobody knows it."""
    return info.width / info.height if info.width and info.height else 1.0


def seen_face(info: ClipInfo, pose: Mapping[str, np.ndarray]) -> SeenFace:
    """The 68 face points of a clip's pose.npz, in heights of the frame."""
    points = pose["keypoints"][:, FACE].astype(np.float64) * [aspect_of(info), 1.0]
    return SeenFace(torch.from_numpy(points), torch.from_numpy(pose["scores"][:, FACE] >= MINIMUM_SCORE))


def in_frames(points: Tensor, info: ClipInfo, fit: Fit | None = None) -> Tensor:
    """A head's points in frames of a clip, as the renderer takes them: (..., K, 3), -1 to 1 across and down.

    Args:
        points: (..., K, 3) of the head template, heights of the clip's own frame.
        info: of the clip.
        fit: how its frames come to the size that they are seen at; None where they keep their shape.
    """
    grid = to_grid(points, aspect_of(info))
    if fit is None or not fit.changes:
        return grid
    scale, shift = (torch.from_numpy(part).to(grid) for part in fit.line)
    flat = scale * (grid[..., :2] + 1) + 2 * shift - 1
    return torch.cat([flat, scale[1] * grid[..., 2:]], -1)
