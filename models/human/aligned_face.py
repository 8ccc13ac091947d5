"""Faces turned, scaled and shifted to one place, as networks that tell people apart want them."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.human.keypoints import FACE, LEFT_EYE_RIM, NOSE_RIDGE, OUTER_LIPS, RIGHT_EYE_RIM

ARCFACE_SIDE: Final = 112
ARCFACE_POINTS: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where eyes, nose and corners of the mouth lie in ArcFace's crop, in pixels; left is left in the picture."""


def five_points(pose: np.ndarray | Tensor) -> np.ndarray:
    """Eyes, nose and corners of the mouth from the face points of a pose.

    Args:
        pose: (T, 134, 3): x and y as fractions of the frame, score.

    Returns:
        (T, 5, 2) as fractions, in ArcFace's order: the eye, and the corner of the mouth, that are left in the picture
        come first. NaN in frames where one of the needed points is missing.
    """
    face = torch.as_tensor(pose).double().cpu().numpy()[:, FACE]
    there = np.all(face[..., 2] > 0, axis=1, keepdims=True)
    return np.where(there[..., None], five_of(face[..., :2]), np.nan)


def five_of(face: np.ndarray) -> np.ndarray:
    """The same (T, 5, 2) from the 68 points of faces (T, 68, 2)."""
    eyes = [face[:, _in_face(rim)].mean(1) for rim in (RIGHT_EYE_RIM, LEFT_EYE_RIM)]
    corner = OUTER_LIPS.start - FACE.start
    return np.stack([*eyes, face[:, NOSE_RIDGE.stop - 1 - FACE.start], face[:, corner], face[:, corner + 6]], 1)


def _in_face(part: slice) -> slice:
    """A part of the 134 points among the 68 of the face."""
    return slice(part.start - FACE.start, part.stop - FACE.start)


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The turn, scale and shift (2, 3) that brings points (N, 2) nearest to targets (N, 2), in least squares.

    Points as complex numbers: w = a z + b with a = sum conj(z) w / sum |z|^2, both about their means. No mirroring.
    """
    z, w = points @ (1, 1j), targets @ (1, 1j)
    spread = (np.abs(z - z.mean()) ** 2).sum()
    if not spread > 0:
        raise ValueError("the face's five points are one and the same; a face cannot be aligned by them")
    a = (np.conj(z - z.mean()) * (w - w.mean())).sum() / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def arcface_crops(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Faces turned, scaled and shifted onto ArcFace's template, bilinear, black outside the frame.

    Args:
        frames: (T, H, W, 3) uint8.
        points: (T, 5, 2) as fractions of the frame, in the order of `five_points`.

    Returns:
        (T, 112, 112, 3) uint8.
    """
    import cv2

    size = np.array([frames.shape[2], frames.shape[1]])
    side = (ARCFACE_SIDE, ARCFACE_SIDE)
    return np.stack(
        [
            cv2.warpAffine(frame, similarity(five * size, ARCFACE_POINTS), side, borderValue=0.0)
            for frame, five in zip(frames, points, strict=True)
        ]
    )
