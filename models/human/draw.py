"""Drawing poses in DWPose's manner: coloured limbs and joints, rainbow hands with blue joints, a face of white dots.

Sizes are DWPose's at 512 pixels and scale with the shorter side of the picture.
"""

from collections.abc import Iterator
from colorsys import hsv_to_rgb
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from models.human.keypoints import FACE, HANDS, LEFT_HAND_EDGES, POINTS, RIGHT_HAND_EDGES

Colour = tuple[int, int, int]

# Limbs in the order in which DWPose draws (and colours) them.
LIMBS: Final = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLOURS: Final[tuple[Colour, ...]] = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip
LIMB_SHADE: Final = 0.6  # limbs are darker than joints
HAND_JOINT: Final[Colour] = (0, 0, 255)
FACE_DOT: Final[Colour] = (255, 255, 255)
LIMB_COLOURS: Final = tuple(tuple(int(channel * LIMB_SHADE) for channel in colour) for colour in COLOURS)
FINGER_COLOURS: Final = tuple(
    tuple(round(255 * channel) for channel in hsv_to_rgb(edge / len(LEFT_HAND_EDGES), 1.0, 1.0))
    for edge in range(len(LEFT_HAND_EDGES))
)
REFERENCE_SIZE: Final = 512
FAR: Final = (
    4  # points further than this many frames outside are not drawn: they are errors, and cv2's integers overflow
)


def draw_pose(
    pose: np.ndarray, height: int, width: int, background: np.ndarray | None = None, threshold: float = 0.3
) -> np.ndarray:
    """One pose as a picture in DWPose's colours.

    Args:
        pose: (134, 3): x and y as fractions of the frame, score.
        height: rows of the picture.
        width: columns of the picture.
        background: (height, width, 3) uint8 RGB to draw over, left unchanged; None is black.
        threshold: points with a lower score are not drawn.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: the pose or the background has another shape.
    """
    pose = np.asarray(pose, dtype=np.float64)
    if pose.shape != (POINTS, 3):
        raise ValueError(f"draw_pose wants one pose of shape ({POINTS}, 3), got {pose.shape}")
    canvas = _canvas(height, width, background)
    xy = pose[:, :2] * (width, height)
    visible = (
        (pose[:, 2] >= threshold)
        & (pose[:, 2] > 0)
        & np.isfinite(pose).all(1)
        & (np.abs(pose[:, :2] - 0.5) <= FAR).all(1)
    )
    scale = min(height, width) / REFERENCE_SIZE
    pixels = np.where(visible[:, None], xy, 0.0)
    _draw_body(canvas, pixels, visible, scale)
    _draw_hands(canvas, pixels.astype(np.int64).tolist(), visible, scale)
    radius = max(1, round(3 * scale))
    for (x, y), drawn in zip(pixels[FACE].astype(np.int64).tolist(), visible[FACE], strict=True):
        if drawn and 0 < x < width and 0 < y < height:
            cv2.circle(canvas, (x, y), radius, FACE_DOT, -1)
    return canvas


def draw_poses(
    poses: np.ndarray, height: int, width: int, backgrounds: np.ndarray | None = None, threshold: float = 0.3
) -> Iterator[np.ndarray]:
    """Pictures of a sequence of poses (T, 134, 3), one after another, so that a long video needs no memory.

    Args:
        poses: (T, 134, 3).
        height: rows.
        width: columns.
        backgrounds: (T, height, width, 3) uint8 RGB, or None.
        threshold: as in `draw_pose`.
    """
    for index, pose in enumerate(poses):
        yield draw_pose(pose, height, width, None if backgrounds is None else backgrounds[index], threshold)


def draw_box(picture: np.ndarray, box: np.ndarray, colour: Colour = (0, 255, 0), label: str = "") -> np.ndarray:
    """A copy of a picture with a rectangle on it.

    Args:
        picture: (H, W, 3) uint8 RGB.
        box: (4,) x0, y0, x1, y1 as fractions of the frame; a box without area is not drawn.
        colour: RGB.
        label: short text above the box.
    """
    canvas = np.ascontiguousarray(picture).copy()
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = (int(round(v)) for v in np.asarray(box, dtype=np.float64) * (width, height, width, height))
    if x0 >= x1 or y0 >= y1:
        return canvas
    scale = min(height, width) / REFERENCE_SIZE
    thickness = max(1, round(2 * scale))
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, thickness)
    if label:
        place = (x0, max(12, y0 - thickness - 2))
        cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, max(0.35, 0.6 * scale), colour, thickness)
    return canvas


def _canvas(height: int, width: int, background: np.ndarray | None) -> np.ndarray:
    if background is None:
        return np.zeros((height, width, 3), np.uint8)
    if background.shape != (height, width, 3) or background.dtype != np.uint8:
        raise ValueError(
            f"background has to be ({height}, {width}, 3) uint8, got {background.shape} {background.dtype}: "
            "resize it first"
        )
    return np.array(background, order="C")


@lru_cache(maxsize=1)
def _circle() -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _draw_body(canvas: np.ndarray, pixels: np.ndarray, visible: np.ndarray, scale: float) -> None:
    half_width = max(1.0, 4 * scale)
    for (start, end), colour in zip(LIMBS, LIMB_COLOURS, strict=False):  # a colour is left over
        if not (visible[start] and visible[end]):
            continue
        along = (pixels[end] - pixels[start]) / 2
        length = float(np.hypot(*along))
        if length < 1e-6:
            continue
        direction = along / length
        across = np.array([-direction[1], direction[0]]) * half_width
        ellipse = (pixels[start] + pixels[end]) / 2 + _circle() @ np.stack([along, across])
        cv2.fillConvexPoly(canvas, np.rint(ellipse).astype(np.int32), colour)
    radius = max(1, round(4 * scale))
    for index, colour in enumerate(COLOURS):
        if visible[index]:
            cv2.circle(canvas, (int(pixels[index, 0]), int(pixels[index, 1])), radius, colour, -1)


def _draw_hands(canvas: np.ndarray, pixels: list[list[int]], visible: np.ndarray, scale: float) -> None:
    thickness = max(1, round(2 * scale))
    for edges in (LEFT_HAND_EDGES, RIGHT_HAND_EDGES):
        for (start, end), colour in zip(edges, FINGER_COLOURS, strict=True):
            if visible[start] and visible[end]:
                cv2.line(canvas, tuple(pixels[start]), tuple(pixels[end]), colour, thickness)
    radius = max(1, round(4 * scale))
    for index in range(HANDS.start, HANDS.stop):
        if visible[index]:
            cv2.circle(canvas, tuple(pixels[index]), radius, HAND_JOINT, -1)
