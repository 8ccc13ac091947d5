"""People for tests of streams: one made of arithmetic, and one of ChatAnyone's networks, small and random."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.portrait import Networks, Person, Portrait
from models.chatanyone.renderer import Renderer
from models.human.keypoints import FACE, HANDS
from tests.heads import coefficients, statistics, template
from tests.models.filled import filled
from tests.portraits import body_motion
from trainers.chatanyone.people import fit_poses
from trainers.streaming.window import Live, Part, Window

FPS, WINDOW, BACK, AHEAD, RATE = 25.0, 5, 15, 5, 16_000
SIZE = 32
FACE_SIZES: dict[str, Any] = {
    "width": 32, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.0, "audio_layers": 1, "history": 6,
    "preceding": 6, "reference": 4, "reference_step": 3, "sampling_steps": 3, "train_steps": 50,
}  # fmt: skip
RENDERER_SIZES: dict[str, Any] = {
    "height": SIZE, "width": SIZE, "halvings": 1, "channels": 4, "planes": 2, "encoder_width": 8, "refine_blocks": 1,
    "body_points": 4, "detector_width": 4, "detector_halvings": 2, "detector_doublings": 1, "displacement_width": 4,
    "warp_width": 8, "warp_halvings": 1, "compress": 0, "decoder_width": 8, "decoder_blocks": 1, "hand_width": 4,
}  # fmt: skip
REFINER_SIZES: dict[str, Any] = {
    "side": 16, "halvings": 1, "channels": 4, "planes": 2, "encoder_width": 8, "refine_blocks": 1, "warp_width": 8,
    "warp_halvings": 1, "compress": 0, "decoder_width": 8, "decoder_blocks": 1, "background_width": 4,
}  # fmt: skip


def talk(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Sound (N,) that comes and goes, the same at every rate, below all of their limits."""
    times = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * (200 + 150 * tone + 31 * seed) * times) for tone in range(6))
    return (0.05 * tones * np.sin(2 * np.pi * 0.9 * times).clip(min=0)).astype(np.float32)


def span(number: int) -> tuple[int, int]:
    """What a window of the person made of arithmetic hears."""
    first = number * WINDOW
    return round((first - BACK) / FPS * RATE), round((first + WINDOW + AHEAD) / FPS * RATE)


def simple(
    hear: Callable[[Window], Any] | None = None, draw: Callable[[Window], Any] | None = None, drops: bool = True
) -> Live:
    """A person whose frame says its number and the loudness of what its window hears.

    Args:
        hear: done by the first part besides.
        draw: likewise by the second.
        drops: whether the first part leaves out windows, and the second frames.
    """

    def move(window: Window) -> Any:
        if hear is not None:
            hear(window)
        return float(np.abs(window.speech).sum()) if window.wanted else None

    def paint(window: Window) -> Any:
        if draw is not None:
            draw(window)
        pictures = np.zeros((len(window.wanted), 2, 2, 3), np.uint8)
        for row, frame in enumerate(window.wanted):
            number = window.number * WINDOW + frame
            pictures[row, 0, 0] = number % 256, number // 256, 1
            pictures[row, 1] = round(window.value) % 256
        return pictures

    parts = [Part("move", move, "window" if drops else None), Part("paint", paint, "frames" if drops else None)]
    return Live(FPS, WINDOW, span, parts, np.zeros((2, 2, 3), np.uint8))


def number_of(picture: np.ndarray) -> int | None:
    """Which frame a picture of the simple person is; None for the still one."""
    low, high, made = map(int, picture[0, 0])
    return low + 256 * high if made else None


def networks(refined: bool = True, body: bool = False) -> Networks:
    """Small random networks that go together; the template's hash is the one of `statistics`."""
    torch.manual_seed(0)
    face = FaceMotion(**FACE_SIZES)
    face.set_statistics(statistics())
    renderer, refiner = Renderer(**RENDERER_SIZES), FaceRefiner(**REFINER_SIZES)
    made = [filled(network).eval() for network in (face, renderer, refiner)]
    for network in made[1:]:
        network.set_template("ab" * 32)
    numbers = {
        "movement_channels": 3 * renderer.body_points,
        "appearance_channels": RENDERER_SIZES["channels"] * RENDERER_SIZES["planes"],
    }
    moved = body_motion(**numbers) if body else None
    return Networks(template(), made[0], moved, made[1], made[2] if refined else None)


def pose() -> np.ndarray:
    """(134, 3) of a face in a square picture and a few points of the body."""
    expression, place, identity = coefficients(1)
    points = template().landmarks(expression[0], place[0], identity)
    found = np.zeros((134, 3), np.float32)
    found[FACE, :2], found[FACE, 2] = points[:, :2].numpy(), 1
    found[:8] = np.linspace([0.3, 0.5, 1.0], [0.7, 0.9, 1.0], 8)
    return found


def portrait(made: Networks | None = None, **options: Any) -> Portrait:
    """A person of ChatAnyone's networks, whose body is the picture's."""
    made = networks() if made is None else made
    fit = fit_poses(made.template, pose()[None], (SIZE, SIZE), "picture")
    image = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    person = Person(image, fit.expression[0], fit.pose[0], fit.identity, torch.from_numpy(pose()[HANDS]))
    return Portrait(made, person, **options)


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
