"""The key points of the one person in a picture."""

from typing import Any

import numpy as np

from models.human.keypoints import FACE
from preprocessing.pose.frames import shrink


class NoPersonFound(ValueError):
    """There is nobody in the picture whose face and body can be found."""


class MorePeopleFound(ValueError):
    """There are several people in the picture, and which one is meant cannot be known."""


def detect_image(
    image: np.ndarray, name: str = "the picture", side: int = 1024, minimum_score: float = 0.1
) -> np.ndarray:
    """Find the key points of the person in a picture with MediaPipe.

    Args:
        image: (H, W, 3) uint8 RGB, as `datamodules.media.picture.read_image` gives it.
        name: what to call the picture in messages, the file's name.
        side: the picture is made smaller so that its longer side has at most this many pixels.
        minimum_score: points with a lower score are missing.

    Returns:
        (134, 3) float32: x, y as fractions of the picture, score; missing points are (-1, -1, 0).

    Raises:
        NoPersonFound: nobody, or a body without a face.
        MorePeopleFound: more than one person of about the same size.
        ValueError: the picture has another shape or type.
    """
    from preprocessing.pose.holistic import Holistic
    from preprocessing.pose.mapping import to_134
    from preprocessing.pose.people import FaceCounter

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"{name}: a picture has to be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    small = shrink(image, side)
    if min(small.shape[:2]) < 32:
        height, width = image.shape[:2]
        raise NoPersonFound(f"no person found in {name}: {width} x {height} pixels are too few")
    people = FaceCounter()(small)
    if people > 1:
        raise MorePeopleFound(
            f"{people} people found in {name}: cut the picture so that only the one who shall speak is on it"
        )
    found: Any = Holistic(static=True)(small)
    if found.body is None:
        raise NoPersonFound(f"no person found in {name}: it has to show one person from the front, with the face free")
    pose = to_134(found, minimum_score)
    if not pose[FACE, 2].any():
        raise NoPersonFound(f"no person found in {name}: there may be a body, but no face that looks at the camera")
    return pose
