"""Drawing with smooth edges in fractions of the picture: filled curves, lines, dots, tubes, and shades of a colour."""

from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from preprocessing.synthetic.speakers import Colour

_SHIFT: Final = 4
_HALF_TURN: Final = np.linspace(np.pi / 2, 3 * np.pi / 2, 9)


class Canvas:
    """A square picture that is drawn on in fractions of its size, with smooth edges."""

    def __init__(self, image: np.ndarray):
        self.image = image
        self.size = len(image)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        # Fractions run over the picture's edges; OpenCV's whole numbers are pixel centres.
        return np.rint((points * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a closed outline, (n, 2)."""
        cv2.fillPoly(self.image, [self._pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw a line of at least one pixel along (n, 2) points."""
        thickness = max(1, round(width * self.size))
        cv2.polylines(self.image, [self._pixels(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def dot(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        x, y = self._pixels(centre)
        cv2.circle(
            self.image, (int(x), int(y)), int(radius * self.size * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT
        )

    def tube(self, start: np.ndarray, end: np.ndarray, first: float, last: float, colour: Colour) -> None:
        """Fill what `tube` outlines."""
        self.fill(tube(start, end, first, last), colour)


@lru_cache(maxsize=64)
def _spline(count: int, closed: bool, steps: int = 6) -> np.ndarray:
    """Matrix that takes `count` points to a Catmull-Rom curve through them."""
    spans = count if closed else count - 1
    matrix = np.zeros((spans * steps + (0 if closed else 1), count))
    for row in range(len(matrix)):
        span, t = min(row // steps, spans - 1), 0.0
        t = (row - span * steps) / steps
        weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
        for offset, weight in zip((-1, 0, 1, 2), weights):
            point = span + offset
            matrix[row, point % count if closed else min(max(point, 0), count - 1)] += weight / 2
    return matrix


def curve(points: np.ndarray, closed: bool = True) -> np.ndarray:
    """A smooth line through (n, 2) points, six steps from one to the next."""
    return _spline(len(points), closed) @ points


def tube(start: np.ndarray, end: np.ndarray, first: float, last: float) -> np.ndarray:
    """Outline of a limb: from a circle of radius `first` to one of radius `last`."""
    along = end - start
    angle = np.arctan2(along[1], along[0])
    turn = _HALF_TURN + angle
    ring = np.empty((len(turn), 2))
    ring[:, 0], ring[:, 1] = np.cos(turn), np.sin(turn)
    return np.concatenate([start + first * ring, end - last * ring])


@lru_cache(maxsize=4096)
def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share of another."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other))
    return red, green, blue


def dark(colour: Colour, share: float) -> Colour:
    """A colour in shadow."""
    return mix(colour, (30, 14, 20), share)


def light(colour: Colour, share: float) -> Colour:
    """A colour in light."""
    return mix(colour, (255, 246, 232), share)
