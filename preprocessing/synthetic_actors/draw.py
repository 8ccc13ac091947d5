"""Draws actors: a body of tubes in flat colours, the synthetic speakers' own heads and hands."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from models.human.body import JOINTS
from preprocessing.synthetic import head
from preprocessing.synthetic.canvas import Canvas, curve, dark, light
from preprocessing.synthetic.draw import draw_hand
from preprocessing.synthetic.features import face, glasses, hair
from preprocessing.synthetic.scenery import wall
from preprocessing.synthetic.speakers import Colour
from preprocessing.synthetic_actors.figure import HAND, METRES, Actor

_TROUSERS: Final[tuple[Colour, ...]] = ((52, 58, 78), (88, 74, 60), (40, 44, 46), (96, 104, 118), (70, 52, 70))
_SHOES: Final[tuple[Colour, ...]] = ((36, 30, 28), (120, 70, 50), (226, 226, 222))
_FLOOR: Final = (150, 132, 112)
# Radii in metres.
_THIGH, _KNEE, _ANKLE, _FOOT = 0.085, 0.056, 0.042, 0.034
_SHOULDER, _WAIST, _HIP = 0.058, 0.105, 0.1
_UPPER_ARM, _ELBOW, _WRIST, _NECK = 0.05, 0.041, 0.03, 0.05
_RING: Final = np.stack([np.cos(np.linspace(0, 2 * np.pi, 17)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 17)[:-1])], -1)
_SUPERSAMPLED: Final = 2
_EVEN: Final = 512


def render(person: Actor, size: int = 256, floor: float | None = None) -> Iterator[np.ndarray]:
    """Yield the T frames, (size, size, 3) uint8 RGB.

    Args:
        person: who is drawn.
        size: of the square picture in pixels; small ones are drawn larger and brought down.
        floor: where it meets the wall, in fractions of the picture; None shows none.
    """
    drawn = size if size >= _EVEN else _SUPERSAMPLED * size
    background = wall(person.speaker, drawn)
    if floor is not None and floor < 1:
        edge = max(0, round(floor * drawn))
        background[edge:] = (0.35 * background[edge:] + 0.65 * np.array(_FLOOR)).astype(np.uint8)
    for index in range(person.frames):
        canvas = Canvas(background.copy())
        _draw(canvas, person, index)
        frame = canvas.image
        yield frame if drawn == size else cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)


def _draw(canvas: Canvas, person: Actor, index: int) -> None:
    look = person.speaker.look
    joints = {name: person.joints[index, place] for place, name in enumerate(JOINTS)}
    depth = {name: person.depth[index, place] for place, name in enumerate(JOINTS)}
    parts = {name: outline[index] for name, outline in person.outlines.items()}
    metre, size = person.metre, person.metre * METRES / head.UNIT
    if "hair_back" in parts:
        canvas.fill(curve(parts["hair_back"]), dark(look.hair, 0.25))
    for side in sorted(("right", "left"), key=lambda side: depth[f"{side}_knee"]):
        _leg(canvas, person, joints, side)
    behind = {side for side in ("right", "left") if depth[f"{side}_wrist"] < depth["spine2"] - 0.05}
    for side in behind:
        _arm(canvas, person, joints, parts, side)
    _trunk(canvas, person, joints)
    chin = parts["jaw"][8]
    canvas.tube(joints["neck"], 0.4 * joints["neck"] + 0.6 * chin, _NECK * metre, _NECK * metre, dark(look.skin, 0.12))
    for ear in (parts["ears"][:8], parts["ears"][8:]):
        canvas.fill(curve(ear), dark(look.skin, 0.1))
    canvas.fill(curve(parts["skin"]), look.skin)
    face(canvas, parts, look, float(person.blink[index]), size)
    if "hair" in parts:
        hair(canvas, parts["hair"], look.hair, size)
    if look.glasses:
        glasses(canvas, parts, size)
    for side in sorted({"right", "left"} - behind, key=lambda side: depth[f"{side}_wrist"]):
        _arm(canvas, person, joints, parts, side)


def _leg(canvas: Canvas, person: Actor, joints: dict[str, np.ndarray], side: str) -> None:
    number, metre = person.speaker.number, person.metre
    cloth, shoe = _TROUSERS[number % len(_TROUSERS)], _SHOES[number % len(_SHOES)]
    hip, knee, ankle, foot = (joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
    canvas.tube(ankle, foot, _FOOT * metre, 0.9 * _FOOT * metre, shoe)
    canvas.tube(hip, knee, _THIGH * metre, _KNEE * metre, cloth)
    canvas.tube(knee, ankle, _KNEE * metre, _ANKLE * metre, cloth)
    pale = light(cloth, 0.08)
    canvas.tube(hip, knee, 0.4 * _THIGH * metre, 0.4 * _KNEE * metre, pale)
    canvas.tube(knee, ankle, 0.4 * _KNEE * metre, 0.4 * _ANKLE * metre, pale)


def _trunk(canvas: Canvas, person: Actor, joints: dict[str, np.ndarray]) -> None:
    look, metre = person.speaker.look, person.metre
    hips = [(joints["right_hip"], _HIP), (joints["left_hip"], _HIP)]
    chest = [(joints[f"{side}_shoulder"], _SHOULDER * look.shoulders) for side in ("right", "left")]
    waist = [(joints["spine1"], _WAIST * look.shoulders)]
    canvas.fill(_hull([*hips, *waist], metre), _TROUSERS[person.speaker.number % len(_TROUSERS)])
    outline = _hull([*chest, *waist, *[(place, 0.9 * radius) for place, radius in hips]], metre)
    canvas.fill(outline, look.cloth)
    canvas.line(outline, dark(look.cloth, 0.3), 0.006 * metre, True)
    pale = _hull([(0.75 * place + 0.25 * joints["spine2"], 0.5 * radius) for place, radius in chest], metre)
    canvas.fill(pale, light(look.cloth, 0.07))
    collar = joints["neck"] + metre * np.array([(-0.07, 0.0), (0.0, 0.09), (0.07, 0.0)])
    canvas.fill(collar, look.skin if look.clothing == "sweater" else look.inner)


def _arm(canvas: Canvas, person: Actor, joints: dict[str, np.ndarray], parts: dict[str, np.ndarray], side: str) -> None:
    look, metre = person.speaker.look, person.metre
    shoulder, elbow, wrist = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    size = metre * METRES / head.UNIT
    draw_hand(canvas, parts[f"{side}_hand"], look, HAND * look.hand * metre, size)
    cuff = elbow + 0.88 * (wrist - elbow)
    edge = dark(look.cloth, 0.34)
    for more, colour in ((0.005, edge), (0.0, dark(look.cloth, 0.06))):
        canvas.tube(shoulder, elbow, (_UPPER_ARM + more) * metre, (_ELBOW + more) * metre, colour)
        canvas.tube(elbow, cuff, (_ELBOW + more) * metre, (_WRIST + more) * metre, colour)
    pale = light(look.cloth, 0.06)
    canvas.tube(shoulder, elbow, 0.45 * _UPPER_ARM * metre, 0.45 * _ELBOW * metre, pale)
    canvas.tube(elbow, cuff, 0.45 * _ELBOW * metre, 0.45 * _WRIST * metre, pale)


def _hull(circles: list[tuple[np.ndarray, float]], metre: float) -> np.ndarray:
    """The outline (n, 2) around circles at places in the picture, of radii in metres."""
    points = np.concatenate([place + radius * metre * _RING for place, radius in circles])
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
