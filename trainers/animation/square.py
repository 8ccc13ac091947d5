"""Where to cut a picture square: around the person or from the middle."""

import numpy as np

from datamodules.media.files import MediaError
from models.human.keypoints import FACE
from preprocessing.videos.square import Square
from settings import ConfigError
from trainers.animation.options import Crop


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
    if crop == "none" and height != width:
        raise ConfigError(f"{name} has {width} x {height} pixels: with crop=none it has to be square")
    if crop != "person":
        return Square.around(width, height)
    face = _face(picture, name) if pose is None else pose[FACE]
    points = face[face[:, 2] > 0, :2]
    if not len(points):
        raise MediaError(f"{name}: the pose has no face, so there is nothing to place the picture around")
    x, y = (points.min(0) + points.max(0)) / 2
    return Square.around(width, height, (float(x * width), float(y * height)))


def _face(picture: np.ndarray, name: str) -> np.ndarray:
    from preprocessing.pose import MorePeopleFound, NoPersonFound, detect_image

    try:
        return detect_image(picture, name=name)[FACE]
    except (NoPersonFound, MorePeopleFound) as error:
        raise MediaError(f"{error}; or cut it yourself and give crop=centre") from None
