"""Poses of somebody else brought onto the person in a picture, and what is said where they have little in common."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import MediaError
from models.human import placing
from models.human.placing import How
from settings import get_logger

SAID: Final[Mapping[How, str]] = {
    "by usual proportions": "the poses and the picture have no length in common; how large they are was taken from "
    "usual proportions",
    "still": "the poses have nothing that could be put into the picture; the person stays as in it",
}
"""What is said of poses that did not come onto the person by lengths that both show."""
logger = get_logger(__name__)


class Fitted(NamedTuple):
    """Poses as the person in a picture has them.

    Attributes:
        poses: (T, 134, 3) as fractions of the picture and scores.
        how: they came there; None where they are left as they are.
    """

    poses: np.ndarray
    how: How | None = None


def onto_person(poses: np.ndarray, size: tuple[int, int], person: np.ndarray, picture: tuple[int, int]) -> Fitted:
    """Poses of one person brought onto another: their bones' lengths, size and place; directions stay.

    Args:
        poses: (T, 134, 3) as fractions of frames.
        size: height and width of these.
        person: (134, 3) the other person's pose as fractions of a picture.
        picture: height and width of that.

    Raises:
        MediaError: the two have nothing in common by which one could be brought onto the other.
    """
    points, scores = square(poses, size)
    own, own_scores = square(person, picture)
    try:
        placed = placing.onto_person(points, scores, own, own_scores)
    except ValueError as error:
        raise MediaError(f"the driving poses do not fit the picture: {error}") from None
    return Fitted(in_fractions(placed.keypoints, placed.scores, picture), placed.how)


def say(how: How | None) -> None:
    """Warn of poses that did not come onto the person by what both show."""
    if how is not None and how in SAID:
        logger.warning(SAID[how])


def square(poses: np.ndarray, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Points (..., 134, 2) in pixels, which are square, and scores (..., 134)."""
    whole = torch.from_numpy(np.ascontiguousarray(poses, np.float32))
    return whole[..., :2] * torch.tensor([size[1], size[0]], dtype=torch.float32), whole[..., 2]


def in_fractions(points: Tensor, scores: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Pixels (..., 134, 2) and scores (..., 134) to (..., 134, 3) fractions of a picture; (-1, -1, 0) where missing."""
    scale = torch.tensor([size[1], size[0]], dtype=torch.float32)
    whole = torch.cat([points / scale, scores[..., None]], -1)
    return torch.where(scores[..., None] > 0, whole, torch.tensor([-1.0, -1.0, 0.0])).numpy().astype(np.float32)
