"""A clip cut to a box that stands still, with everything that was measured in its picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datamodules.keys import KEYS
from datamodules.media.files import encode_video
from preprocessing.step import Draft


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, picture: np.ndarray, width: int, height: int) -> np.ndarray:
        """The part of a picture (H, W, 3) uint8 at `width` x `height` pixels."""
        import cv2

        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        if (self.width, self.height) != (width, height):
            way = cv2.INTER_AREA if self.width > width else cv2.INTER_CUBIC
            part = cv2.resize(part, (width, height), interpolation=way)
        return np.ascontiguousarray(part)


def crop_clip(draft: Draft, box: Box, width: int, height: int) -> None:
    """Cut a clip's video to a box and bring it to a size; key points, boxes, landmarks and camera go along.

    Key points and boxes outside of it stay, as fractions below 0 or above 1.

    Args:
        draft: the clip; changed in place.
        box: the part of its picture.
        width: of the result in pixels, even.
        height: of the result in pixels, even.
    """
    before = draft.info.width or 1, draft.info.height or 1
    draft.video = encode_video((box.cut(frame, width, height) for frame in draft.frames()), draft.fps)
    draft.info.width, draft.info.height = width, height
    for name, key in KEYS.items():
        arrays = draft.arrays.get(name, {})
        for part in [part for part, array in key.arrays.items() if array.picture and part in arrays]:
            arrays[part] = _moved(arrays[part], box, *before)
    if "camera" in (smplx := draft.arrays.get("smplx.npz", {})):
        smplx["camera"] = _camera(smplx["camera"], box, before[0])


def _moved(values: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """Fractions of the whole picture as fractions of the box; rows of -1 stay."""
    moved = values.astype(np.float32).copy()
    missing = (values == -1).all(-1)
    across = (0, 2) if values.shape[-1] == 4 else (0,)
    down = (1, 3) if values.shape[-1] == 4 else (1,)
    for axis in across:
        moved[..., axis] = (values[..., axis] * width - box.left) / box.width
    for axis in down:
        moved[..., axis] = (values[..., axis] * height - box.top) / box.height
    if values.shape[-1] == 3:  # depth of a landmark, as a fraction of the width
        moved[..., 2] = values[..., 2] * width / box.width
    moved[missing] = -1
    return moved


def _camera(camera: np.ndarray, box: Box, width: int) -> np.ndarray:
    """Focal length and principal point as fractions of the box's width instead of the whole picture's."""
    moved = camera.astype(np.float32).copy() * width / box.width
    moved[1:3] -= np.array([box.left, box.top], np.float32) / box.width
    return moved
