"""Square cuts of pictures, and a step that makes a clip's video square around the person."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import numpy as np

from models.human.keypoints import FACE
from preprocessing.step import Draft
from preprocessing.videos.crop import Box, crop_clip
from settings import ConfigError
from settings.ranges import Positive

FACE_AT: Final = 0.35  # of the square's height, where the middle of the face should come to lie


class Square(NamedTuple):
    """A square cut: left and top edge and side, in pixels."""

    left: int
    top: int
    side: int

    @classmethod
    def around(
        cls, width: int, height: int, middle: tuple[float, float] | None = None, side: float | None = None
    ) -> Square:
        """A square of a picture.

        Args:
            width, height: of the picture in pixels.
            side: of the square in pixels; the largest that there is where None, or where it is larger than that.
            middle: where the middle of the face lies, in pixels; it comes to lie in the square's upper middle as far as
                the picture's edges let it. None takes the picture's middle.
        """
        whole_side = min(width, height)
        side = whole_side if side is None else max(2, min(whole_side, 2 * round(side / 2)))
        x, y = (width / 2, height / 2) if middle is None else (middle[0], middle[1] + (0.5 - FACE_AT) * side)
        left, top = (int(np.clip(round(at - side / 2), 0, whole - side)) for at, whole in ((x, width), (y, height)))
        return cls(left, top, side)

    def cut(self, picture: np.ndarray, size: int) -> np.ndarray:
        """The square of a picture (H, W, 3) uint8 at `size` x `size` pixels."""
        import cv2

        part = picture[self.top : self.top + self.side, self.left : self.left + self.side]
        way = cv2.INTER_AREA if self.side > size else cv2.INTER_CUBIC
        return np.ascontiguousarray(part if self.side == size else cv2.resize(part, (size, size), interpolation=way))


class SquareCrop:
    """Cut a clip's video to a square that stands still, and bring everything measured in it along.

    It is the last step: the quality filter sees the whole picture. Key points and boxes outside the square stay, as
    fractions below 0 or above 1.

    Args:
        around: "person": the face's mean place over the clip comes to lie in the square's upper middle; "centre": the
            middle of the picture.
        face: height of the face, brows to chin, as a share of the square's; a smaller face is brought closer. The
            largest square where none.

    Raises:
        ConfigError: a share that is none.
    """

    def __init__(self, around: Literal["person", "centre"] = "person", face: Positive | None = None) -> None:
        if face is not None and not 0.05 <= face <= 0.9:
            raise ConfigError(f"crop.face is a share of the square's height, from 0.05 to 0.9, got {face}")
        if face is not None and around == "centre":
            raise ConfigError("crop.face goes with crop.around=person: the middle of the picture knows no face")
        self.around, self.face = around, face

    def __call__(self, draft: Draft) -> None:
        width, height = draft.info.width, draft.info.height
        if width == height and self.face is None:
            return
        found = _face(draft, width, height) if self.around == "person" else None
        side = found[2] / self.face if found and self.face else None
        square = Square.around(width, height, found[:2] if found else None, side)
        if square.side == width == height:
            return
        crop_clip(draft, Box(square.left, square.top, square.side, square.side), square.side, square.side)


def _face(draft: Draft, width: int, height: int) -> tuple[float, float, float] | None:
    """Mean middle of the face over the clip, and its height, in pixels; None where there is none."""
    pose: dict[str, Any] | None = draft.arrays.get("pose.npz")
    if pose is None:
        return None
    points = pose["keypoints"][:, FACE][pose["scores"][:, FACE] > 0]
    if not len(points):
        return None
    x, y = points.mean(0)
    visible = (pose["scores"][:, FACE] > 0).all(1)
    tall = np.ptp(pose["keypoints"][visible][:, FACE, 1], axis=1) if visible.any() else np.ptp(points[:, 1:], axis=0)
    return float(x * width), float(y * height), float(np.median(tall) * height)
