"""The face points of a clip as the head template is fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch

from datamodules.clip import ClipInfo
from models.chatanyone.head_linear import SeenFace
from models.human.keypoints import FACE

MINIMUM_SCORE: Final = 0.3  # points below it are not drawn (`models.human.draw`), so they tell no shape either


def seen_face(info: ClipInfo, pose: Mapping[str, np.ndarray]) -> SeenFace:
    """The 68 face points of a clip's pose.npz, in heights of the frame."""
    aspect = info.width / info.height if info.width and info.height else 1.0
    points = pose["keypoints"][:, FACE].astype(np.float64) * [aspect, 1.0]
    return SeenFace(torch.from_numpy(points), torch.from_numpy(pose["scores"][:, FACE] >= MINIMUM_SCORE))
