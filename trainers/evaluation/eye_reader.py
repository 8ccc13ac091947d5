"""Reading off frames how far eyes are open, with a small network that is fitted to the clips' own training frames."""

from typing import ClassVar, Final

import numpy as np
from torch import Tensor

from models.human.keypoints import FACE, LEFT_EYE_RIM, RIGHT_EYE_RIM
from trainers.evaluation.faces import box_around, face_crop
from trainers.evaluation.lip_reader import SIDE, LipReader

TALL: Final = 4.0
"""Pixels that open eyes have to be high, so that anything can be read off them."""
RIMS: Final = (*range(RIGHT_EYE_RIM.start, RIGHT_EYE_RIM.stop), *range(LEFT_EYE_RIM.start, LEFT_EYE_RIM.stop))
_OPEN: Final = 0.9  # quantile of a clip's heights: those of open eyes


class EyeReader(LipReader):
    """Crops of eyes (N, 3, 48, 48) in [0, 1] to their height over their width (N,), as face.npz has it (ours)."""

    what: ClassVar = "eyes"

    @staticmethod
    def wanted(pose: Tensor, size: tuple[int, int]) -> np.ndarray:
        """Height of the eyes over their width (T,); NaN where they are not seen, or too small in this clip."""
        return eyes_of(pose, size)

    @staticmethod
    def cut(frames: Tensor, pose: Tensor) -> Tensor | None:
        """One square around the eyes wherever they go, of every frame: (T, 3, 48, 48); None without eyes."""
        box = box_around(pose[:, RIMS], frames.shape[3] / frames.shape[2])
        return None if box is None else face_crop(frames, box, SIDE)


def eyes_of(pose: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Height of the eyes over their width (T,); NaN where they are not seen, in all of a clip where they are too small.

    Args:
        pose: (T, 134, 3) as fractions of the frame and scores.
        size: height and width of the frames in pixels.
    """
    from preprocessing.face.geometry import eye_openness

    points = pose.numpy().astype(np.float64)
    seen = (points[:, RIMS, 2] > 0).all(1)
    face = points[:, FACE, :2] * (size[1], size[0])
    if not seen.any() or np.quantile(_heights(face[seen]), _OPEN) < TALL:
        return np.full(len(points), np.nan)
    return np.where(seen, eye_openness(face), np.nan)


def _heights(face: np.ndarray) -> np.ndarray:
    """Mean height (T,) of both eyes of faces (T, 68, 2)."""
    rims = np.stack([face[:, rim.start - FACE.start : rim.stop - FACE.start] for rim in (RIGHT_EYE_RIM, LEFT_EYE_RIM)])
    return (np.linalg.norm(rims[:, :, [1, 2]] - rims[:, :, [5, 4]], axis=-1)).mean((0, 2))
