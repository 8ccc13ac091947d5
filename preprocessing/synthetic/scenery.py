"""What is behind the speakers: a lit wall and blurred things, one still picture a speaker."""

import cv2
import numpy as np

from preprocessing.synthetic.speakers import Speaker


def wall(who: Speaker, size: int) -> np.ndarray:
    """The background of a speaker, (size, size, 3) uint8 RGB."""
    generator = np.random.default_rng([who.seed, who.number, 23])
    side = 256
    y, x = np.mgrid[0:side, 0:side] / side
    light = 1.08 - 0.22 * np.hypot(x - 0.3, y - 0.2) - 0.16 * np.clip(np.hypot(x - 0.5, y - 0.5) - 0.45, 0, None)
    image = np.clip(np.array(who.look.wall) * light[..., None], 0, 255).astype(np.uint8)
    (_window, _shelf, _plant)[who.look.scene](image, generator)
    image = cv2.GaussianBlur(image, (0, 0), 3.2)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    # A little grain keeps the codec from drawing bands into the smooth wall.
    grain = generator.normal(0, 1.2, image.shape[:2] + (1,))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _box(image: np.ndarray, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
    corners = [int(round(256 * value)) for value in (left, top, right, bottom)]
    cv2.rectangle(image, (corners[0], corners[1]), (corners[2], corners[3]), colour, -1)


def _window(image: np.ndarray, generator: np.random.Generator) -> None:
    left = 0.04 if generator.uniform() < 0.5 else 0.70
    _box(image, left, 0.06, left + 0.26, 0.56, (246, 244, 238))
    _box(image, left + 0.02, 0.08, left + 0.24, 0.54, (206, 228, 240))
    _box(image, left + 0.02, 0.36, left + 0.24, 0.54, (176, 204, 170))
    _box(image, left + 0.12, 0.06, left + 0.14, 0.56, (246, 244, 238))
    _box(image, left + 0.02, 0.29, left + 0.24, 0.31, (246, 244, 238))


def _shelf(image: np.ndarray, generator: np.random.Generator) -> None:
    left = 0.66 if generator.uniform() < 0.5 else 0.02
    for level in (0.2, 0.44, 0.68):
        at = left + 0.01
        while at < left + 0.28:
            wide, tall = generator.uniform(0.015, 0.035), generator.uniform(0.09, 0.17)
            red, green, blue = (int(value) for value in generator.integers(70, 215, 3))
            _box(image, at, level - tall, at + wide, level, (red, green, blue))
            at += wide + generator.uniform(0.002, 0.02)
        _box(image, left, level, left + 0.32, level + 0.022, (128, 94, 66))


def _plant(image: np.ndarray, generator: np.random.Generator) -> None:
    side = 0.86 if generator.uniform() < 0.5 else 0.13
    _box(image, side - 0.07, 0.76, side + 0.07, 0.98, (176, 104, 74))
    for angle in np.linspace(-1.1, 1.1, 11):
        tip = np.array([side + 0.3 * np.sin(angle) * 0.6, 0.74 - 0.42 * np.cos(angle) * generator.uniform(0.7, 1.1)])
        colour = (int(generator.integers(50, 90)), int(generator.integers(110, 150)), int(generator.integers(60, 90)))
        start = (int(256 * side), int(256 * 0.76))
        cv2.line(image, start, (int(256 * tip[0]), int(256 * tip[1])), colour, 5)
        cv2.ellipse(
            image, (int(256 * tip[0]), int(256 * tip[1])), (13, 7), float(np.degrees(angle)) - 90, 0, 360, colour, -1
        )
