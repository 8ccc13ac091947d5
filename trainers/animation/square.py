"""Square cuts of pictures and frames, around the person or from the middle."""

from typing import Final, NamedTuple

import numpy as np

from datamodules.media import MediaError
from models.human.keypoints import FACE
from settings import ConfigError
from trainers.animation.wanted import Crop

FACE_AT: Final = 0.35  # of the square's height, where the middle of the face should come to lie


class Square(NamedTuple):
    """A square cut: left and top edge and side, in pixels."""

    left: int
    top: int
    side: int

    def cut(self, picture: np.ndarray, size: int) -> np.ndarray:
        """The square of a picture (H, W, 3) uint8 at `size` x `size` pixels."""
        import cv2

        part = picture[self.top : self.top + self.side, self.left : self.left + self.side]
        way = cv2.INTER_AREA if self.side > size else cv2.INTER_CUBIC
        return np.ascontiguousarray(part if self.side == size else cv2.resize(part, (size, size), interpolation=way))


def find_square(picture: np.ndarray, crop: Crop, name: str, pose: np.ndarray | None = None) -> Square:
    """Where to cut a picture (H, W, 3) uint8 RGB.

    Args:
        picture: the whole of it.
        crop: "person": the largest square, placed so that the face is in its upper middle; the person is looked for
            unless a pose says where they are. "centre": the largest square in the middle, nobody is looked for. "none":
            the picture has to be square.
        name: of the picture, for messages.
        pose: (134, 3) as fractions of the picture and score.

    Raises:
        MediaError: nobody in the picture, or several people.
        ConfigError: crop=none and a picture that is not square.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    if crop == "none" and height != width:
        raise ConfigError(f"{name} has {width} x {height} pixels: with crop=none it has to be square")
    x, y = width / 2, height / 2
    if crop == "person":
        face = _face(picture, name) if pose is None else pose[FACE]
        seen = face[face[:, 2] > 0, :2]
        if not len(seen):
            raise MediaError(f"{name}: the pose has no face, so there is nothing to place the picture around")
        middle = (seen.min(0) + seen.max(0)) / 2 * (width, height)
        x, y = middle[0], middle[1] + (0.5 - FACE_AT) * side
    left = int(np.clip(round(x - side / 2), 0, width - side))
    top = int(np.clip(round(y - side / 2), 0, height - side))
    return Square(left, top, side)


def _face(picture: np.ndarray, name: str) -> np.ndarray:
    from preprocessing.pose import MorePeopleFound, NoPersonFound, detect_image

    try:
        return detect_image(picture, name=name)[FACE]
    except (NoPersonFound, MorePeopleFound) as error:
        raise MediaError(f"{error}; or cut it yourself and give crop=centre") from None
