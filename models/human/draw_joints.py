"""Drawing the 22 joints of body motion: seen from the front left, on a floor, by a camera that goes along."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from models.human.body import JOINTS, PARENTS

Colour = tuple[int, int, int]

MIDDLE: Final[Colour] = (200, 200, 200)
LEFT: Final[Colour] = (90, 160, 255)
RIGHT: Final[Colour] = (255, 150, 70)
FLOOR: Final[Colour] = (60, 60, 60)
VIEW: Final = (np.radians(30.0), np.radians(12.0))  # to the person's left of its first facing, and from above
HEIGHT: Final = 2.4  # metres that a picture is high
BELOW: Final = 0.25  # metres of it below the floor
GRID: Final = 0.5  # metres between lines on the floor
_COLOURS: Final = [LEFT if "left" in name else RIGHT if "right" in name else MIDDLE for name in JOINTS]


def draw_joints(joints: np.ndarray, height: int, width: int | None = None) -> Iterator[np.ndarray]:
    """Pictures of people side by side, one after another.

    The camera follows the first person along the floor, for all of them alike, so that whoever strays leaves it.

    Args:
        joints: (P, T, 22, 3) metres, y up, of P people.
        height: rows of a picture.
        width: columns for each person; as many as rows where none.

    Yields:
        (height, P width, 3) uint8 RGB, T of them.

    Raises:
        ValueError: joints of another shape.
    """
    if joints.ndim != 4 or joints.shape[2:] != (len(JOINTS), 3):
        raise ValueError(f"draw_joints wants (P, T, {len(JOINTS)}, 3), got {joints.shape}")
    for frame in joints.swapaxes(0, 1):
        centre = frame[0, 0] * (1, 0, 1)
        yield np.concatenate([_draw(person, centre, height, width or height) for person in frame], axis=1)


def project(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Points (..., 3) in metres as (..., 2): to the right and up, as the camera sees them from far away."""
    turn, tilt = VIEW
    x, y, z = np.moveaxis(np.asarray(points, np.float64) - centre, -1, 0)
    # The person's left is the picture's right, as for whoever stands before it.
    across, depth = x * np.cos(turn) - z * np.sin(turn), x * np.sin(turn) + z * np.cos(turn)
    return np.stack([across, y * np.cos(tilt) - depth * np.sin(tilt)], axis=-1)


def _draw(joints: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    canvas = np.zeros((height, width, 3), np.uint8)
    scale = height / HEIGHT

    def pixels(points: np.ndarray) -> np.ndarray:
        projected = project(points, centre)
        places = np.stack(
            [width / 2 + scale * projected[..., 0], height - scale * (projected[..., 1] + BELOW)], axis=-1
        )
        # Far outside is as good as outside, and OpenCV's integers do not overflow.
        return np.clip(np.nan_to_num(places), -4 * height, 5 * height).round().astype(int)

    reach = 4 * GRID
    first = np.floor(centre / GRID) * GRID
    for step in np.arange(-reach, reach + GRID, GRID):
        for line in (((step, -reach), (step, reach)), ((-reach, step), (reach, step))):
            ends = first + np.array([(x, 0.0, z) for x, z in line])
            a, b = pixels(ends).tolist()
            cv2.line(canvas, a, b, FLOOR, 1, cv2.LINE_AA)
    places, thickness = pixels(joints).tolist(), max(1, round(height / 85))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            cv2.line(canvas, places[parent], places[joint], _COLOURS[joint], thickness, cv2.LINE_AA)
    for place, colour in zip(places, _COLOURS, strict=True):
        cv2.circle(canvas, place, thickness, colour, -1, cv2.LINE_AA)
    return canvas
