"""A step that cuts a clip's video to an oblong frame around the person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from models.human.keypoints import FACE, HANDS, LEFT_WRIST, RIGHT_WRIST
from preprocessing.figures import REQUIRED, SEEN
from preprocessing.step import Draft, Drop
from preprocessing.videos.crop import Box, crop_clip
from settings.ranges import Fraction, Pixels

_BODY: Final = REQUIRED["waist_up"]
_CORE: Final = (*_BODY, *range(FACE.start, FACE.stop))
_ALL: Final = (*_CORE, RIGHT_WRIST, LEFT_WRIST, *range(HANDS.start, HANDS.stop))
_HAIR: Final = 0.8  # what a head has above the brows, in heights of the face from brows to chin
_OFTEN: Final = 0.1  # share of the frames in which a point has to be seen to count


class FrameCrop:
    """Cut a clip's video to a frame of one shape that stands still, and bring everything measured in it along.

    It is the largest part of the picture that has the shape, made smaller where it is larger than asked, and placed so
    that head, arms and hands of the whole clip are in it, or head, shoulders and elbows where it is too narrow for all.
    Where nobody is seen it is the middle of the picture. It is the last step: the quality filter sees the whole
    picture, and clips whose person does not fit into the frame are dropped here (`partial_body`).

    Args:
        width: of the frame in pixels. A smaller picture gives a smaller frame of the same shape, so `size` should be at
            least the longer side.
        height: of the frame in pixels.
        min_inside: smallest share of the frames in which all that is seen of head, shoulders and elbows is inside.
    """

    def __init__(self, width: Pixels = 512, height: Pixels = 896, min_inside: Fraction = 0.9) -> None:
        self.width, self.height, self.min_inside = width, height, min_inside

    def __call__(self, draft: Draft) -> None:
        """Cut the clip.

        Raises:
            Drop: the person does not fit into the frame.
        """
        width, height = draft.info.width or 1, draft.info.height or 1
        box = frame_box(draft.arrays.get("pose.npz"), (width, height), (self.width, self.height))
        self._judge(draft, box, width, height)
        larger = width > self.width and height > self.height
        size = (_even(self.width), _even(self.height)) if larger else (box.width, box.height)
        if size != (width, height):
            crop_clip(draft, box, *size)

    def _judge(self, draft: Draft, box: Box, width: int, height: int) -> None:
        if "pose.npz" not in draft.arrays:
            return
        pose = draft.arrays["pose.npz"]
        points, seen = pose["keypoints"][:, list(_BODY)], pose["scores"][:, list(_BODY)] >= SEEN
        low = np.array([box.left / width, box.top / height])
        high = low + (box.width / width, box.height / height)
        inside = float((~seen | ((points >= low) & (points <= high)).all(-1)).all(1).mean())
        draft.figures["inside"] = inside
        if inside < self.min_inside:
            raise Drop(
                "partial_body",
                f"head, shoulders and elbows fit into a frame of {self.width} x {self.height} in {inside:.0%} of the "
                f"frames, at least {self.min_inside:.0%}",
            )


def frame_box(pose: Mapping[str, Any] | None, picture: tuple[int, int], shape: tuple[int, int]) -> Box:
    """The largest part of a picture that has a shape, with the person in it, or as much of them as there is room for.

    Args:
        pose: `keypoints` (T, 134, 2) as fractions of the picture and `scores` (T, 134); where None, the middle.
        picture: width and height in pixels.
        shape: width and height of the part, in any unit.
    """
    width, height = picture
    scale = min(width / shape[0], height / shape[1])
    across, down = (_even(side * scale) for side in shape)
    core, everything = _extent(pose, _CORE), _extent(pose, _ALL)
    corner = []
    for axis, (whole, side) in enumerate(((width, across), (height, down))):
        low, high = (0.0, float(whole)) if everything is None else everything[axis] * whole
        if core is not None and high - low > side:
            low, high = core[axis] * whole
        # Of a body that is too tall the lower end is left out, never the head.
        start = low if axis == 1 and core is not None and high - low > side else (low + high - side) / 2
        corner.append(int(np.clip(round(start), 0, whole - side)))
    return Box(corner[0], corner[1], across, down)


def _extent(pose: Mapping[str, Any] | None, points: tuple[int, ...]) -> np.ndarray | None:
    """(2, 2): from where to where some points are seen over the clip, across and down, hair included, as fractions."""
    if pose is None:
        return None
    found, seen = pose["keypoints"][:, list(points)], pose["scores"][:, list(points)] >= SEEN
    often = seen.mean(0) >= _OFTEN
    if not often.any():
        return None
    # Single wild frames would move the box.
    places = np.where(seen[..., None], found, np.nan)[:, often]
    low, high = np.nanpercentile(places, (2, 98), axis=0)
    ends = np.stack([low.min(0), high.max(0)], -1)
    face = pose["keypoints"][:, FACE][(pose["scores"][:, FACE] >= SEEN).all(1), :, 1]
    if len(face):
        ends[1, 0] -= _HAIR * np.median(np.ptp(face, axis=1))
    return ends


def _even(side: float) -> int:
    """The nearest even number of pixels that is not larger."""
    return max(2, 2 * int(side / 2 + 1e-6))
