"""Draws the figure: a person in flat colours with soft shading, from the very points that are its key points."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from preprocessing.synthetic.canvas import Canvas, curve, dark, light, mix, tube
from preprocessing.synthetic.features import face, glasses, hair
from preprocessing.synthetic.figure import Figure, figure
from preprocessing.synthetic.motion import still
from preprocessing.synthetic.scenery import wall
from preprocessing.synthetic.speakers import Colour, Look, Speaker, speaker

_SHADE_SIZE: Final = 128
_FINGER_ORDER: Final = (4, 3, 2, 1, 0)


def render(person: Figure, size: int = 256) -> Iterator[np.ndarray]:
    """Yield the T frames, (size, size, 3) uint8 RGB.

    Args:
        person: what to draw.
        size: of the square picture in pixels, 64 or more; small ones are drawn larger and brought down.
    """
    if size < 64:
        raise ValueError(f"size {size} is too small to draw a person; give 64 or more")
    canvas_size = size if size >= 512 else 2 * size
    background = wall(person.speaker, canvas_size)
    for index in range(person.motion.frames):
        canvas = Canvas(background.copy())
        _person(canvas, person, index)
        frame = canvas.image
        yield frame if canvas_size == size else cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)


def portrait(who: Speaker | int = 0, size: int = 512, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A speaker at rest: picture (size, size, 3) uint8 RGB and its key points with scores (134, 3) float32."""
    who = speaker(who, seed) if isinstance(who, int) else who
    person = figure(who, still(who))
    pose = np.concatenate([person.keypoints[0], person.scores[0][:, None]], -1)
    return next(render(person, size)), pose


def _person(canvas: Canvas, person: Figure, index: int) -> None:
    parts = {name: points[index] for name, points in person.outlines.items()}
    look = person.speaker.look
    if "hair_back" in parts:
        canvas.fill(curve(parts["hair_back"]), dark(look.hair, 0.25))
    _trunk(canvas, parts, person.speaker)
    for ear in (parts["ears"][:8], parts["ears"][8:]):
        canvas.fill(curve(ear), dark(look.skin, 0.1))
        canvas.fill(curve(ear.mean(0) + 0.55 * (ear - ear.mean(0))), dark(look.skin, 0.22))
    canvas.fill(curve(parts["skin"]), look.skin)
    _shade(canvas, parts)
    face(canvas, parts, look, float(person.motion.blink[index]))
    if "hair" in parts:
        hair(canvas, parts["hair"], look.hair)
    if look.glasses:
        glasses(canvas, parts)
    for side in (0, 1):
        _arm(canvas, parts, person.speaker, side)


def _trunk(canvas: Canvas, parts: dict[str, np.ndarray], who: Speaker) -> None:
    look = who.look
    chin, torso = parts["jaw"][8], parts["torso"]
    base = (torso[1] + torso[-2]) / 2
    sides = parts["jaw"][[4, 12]]
    half = np.array([0.052 * look.shoulders, 0.0])
    neck = np.stack(
        [
            sides[0] * 0.62 + sides[1] * 0.38,
            sides[1] * 0.62 + sides[0] * 0.38,
            base + half,
            base + half * [0.2, 0] + [0, 0.05],
            base - half * [0.2, 0] + [0, 0.05],
            base - half,
        ]
    )
    neck[0, 0], neck[1, 0] = (sides[0, 0] + chin[0]) / 2 - 0.012, (sides[1, 0] + chin[0]) / 2 + 0.012
    outline = curve(torso)
    canvas.fill(outline, look.cloth)
    middle = parts["torso"][[0, -1]].mean(0)
    if look.clothing == "sweater":
        collar = np.stack(
            [
                middle + [-0.074, 0.012],
                middle + [-0.045, 0.058],
                middle + [0, 0.074],
                middle + [0.045, 0.058],
                middle + [0.074, 0.012],
            ]
        )
        canvas.fill(curve(collar), look.skin)
        canvas.fill(neck, dark(look.skin, 0.12))
        canvas.line(curve(collar, False), dark(look.cloth, 0.28), 0.016)
        canvas.line(curve(collar, False), light(look.cloth, 0.1), 0.010)
    else:
        deep = 0.26 if look.clothing == "blazer" else 0.085
        opening = np.stack([middle + [-0.066, 0.0], middle + [0, deep], middle + [0.066, 0.0]])
        inner = look.inner if look.clothing == "blazer" else look.skin
        canvas.fill(opening, inner)
        if look.clothing == "blazer":
            canvas.fill(np.stack([middle + [-0.056, 0.0], middle + [0, 0.082], middle + [0.056, 0.0]]), look.skin)
        canvas.fill(neck, dark(look.skin, 0.12))
        _collar(canvas, middle, look, deep)


def _collar(canvas: Canvas, middle: np.ndarray, look: Look, deep: float) -> None:
    for side in (-1, 1):
        flip = np.array([side, 1])
        if look.clothing == "blazer":
            shirt = np.array([(0.072, -0.004), (0.05, 0.0), (0.004, 0.075), (0.03, 0.098), (0.084, 0.03)])
            canvas.fill(middle + shirt * flip, light(look.inner, 0.3))
            canvas.line(middle + shirt * flip, dark(look.inner, 0.25), 0.002, True)
            lapel = np.array(
                [
                    (0.078, 0.004),
                    (0.0, deep),
                    (0.012, deep + 0.03),
                    (0.118, 0.15),
                    (0.098, 0.122),
                    (0.128, 0.10),
                    (0.098, 0.022),
                ]
            )
            canvas.fill(middle + lapel * flip, light(look.cloth, 0.12))
            canvas.line(middle + lapel * flip, dark(look.cloth, 0.35), 0.003, True)
        else:
            collar = np.array([(0.07, -0.006), (0.052, -0.002), (0.002, 0.084), (0.045, 0.108), (0.09, 0.03)])
            canvas.fill(middle + collar * flip, light(look.cloth, 0.2))
            canvas.line(middle + collar * flip, dark(look.cloth, 0.3), 0.003, True)
    foot = middle + [0, 0.6]
    canvas.line(np.stack([middle + [0.0, deep + 0.012], foot]), dark(look.cloth, 0.28), 0.003)
    for button in np.arange(deep + 0.05, 0.56, 0.085 if look.clothing == "shirt" else 0.11):
        canvas.dot(middle + [0.0 if look.clothing == "shirt" else 0.012, button], 0.006, dark(look.cloth, 0.45))


def _shade(canvas: Canvas, parts: dict[str, np.ndarray]) -> None:
    """Soft light from the upper left over all that is drawn so far: a small grey picture, blurred and multiplied in."""
    shade = np.full((_SHADE_SIZE, _SHADE_SIZE), 128, np.uint8)

    def tone(points: np.ndarray, value: int) -> None:
        cv2.fillPoly(shade, [np.rint(points * _SHADE_SIZE * 16).astype(np.int32)], value, cv2.LINE_8, 4)

    jaw, torso, skin = parts["jaw"], parts["torso"], parts["skin"]
    tone(tube(torso[-3] + [-0.04, 0.12], torso[-2] + [0.0, 0.55], 0.04, 0.05), 112)
    tone(tube(torso[2] + [0.0, 0.16], torso[3] + [0.02, 0.55], 0.02, 0.03), 134)
    for side in (0, 1):
        elbow, wrist = parts["elbows"][side] + [0.012, 0.024], parts["wrists"][side] + [0.008, 0.03]
        tone(tube(elbow, wrist, 0.045, 0.035), 100)
        tone(tube(wrist, parts[("right_hand", "left_hand")[side]][9] + [0.005, 0.025], 0.03, 0.03), 100)
    tone(np.concatenate([jaw[3:14] + [0.004, 0.032], jaw[[13, 3]]]), 84)
    tone(curve(skin), 128)
    centre = (jaw[0] + jaw[16]) / 2
    tone(np.concatenate([jaw[8:17], centre + 0.80 * (jaw[16:7:-1] - centre)]), 114)
    tone(tube(skin[-3] * 0.55 + skin[22] * 0.45, skin[21] * 0.8 + centre * 0.2, 0.03, 0.03), 136)
    nose = parts["nose"]
    tone(np.stack([nose[1], nose[8] + [0.006, 0], nose[6] + [0, 0.012], nose[6]]), 114)
    blurred = cv2.GaussianBlur(shade, (0, 0), 2.2)
    full = cv2.resize(blurred, (canvas.size, canvas.size), interpolation=cv2.INTER_LINEAR)
    cv2.multiply(canvas.image, cv2.merge([full, full, full]), canvas.image, scale=1 / 128)


def _arm(canvas: Canvas, parts: dict[str, np.ndarray], who: Speaker, side: int) -> None:
    look = who.look
    shoulder, elbow, wrist = parts["shoulders"][side], parts["elbows"][side], parts["wrists"][side]
    hand = parts[("right_hand", "left_hand")[side]]
    cloth, edge = mix(look.cloth, dark(look.cloth, 0.5), 0.12), dark(look.cloth, 0.34)
    width = 0.043 * look.shoulders
    cuff = elbow + 0.86 * (wrist - elbow)
    draw_hand(canvas, hand, look, 0.118 * look.hand)
    canvas.tube(elbow + 0.7 * (wrist - elbow), wrist, 0.026 * look.hand, 0.023 * look.hand, look.skin)
    # The sleeve's edge begins below the shoulder, so that the sleeve grows out of the trunk.
    canvas.tube(shoulder + 0.35 * (elbow - shoulder), elbow, width + 0.0015, 0.044, edge)
    canvas.tube(elbow, cuff, 0.044, 0.034, edge)
    canvas.tube(shoulder, elbow, width, 0.041, cloth)
    canvas.tube(elbow, cuff, 0.041, 0.031, cloth)
    for share, paler in ((0.75, 0.03), (0.5, 0.06), (0.26, 0.09)):
        toward = np.array([-0.008, -0.005]) * (1 - share)
        pale = light(cloth, paler)
        canvas.tube(shoulder + toward, elbow + toward, share * width, share * 0.041, pale)
        canvas.tube(elbow + toward, cuff + toward, share * 0.041, share * 0.031, pale)
    across = np.array([-(wrist - elbow)[1], (wrist - elbow)[0]])
    across = across / max(float(np.linalg.norm(across)), 1e-6) * 0.031
    canvas.line(np.stack([cuff - across, cuff + across]), edge, 0.005)


def draw_hand(canvas: Canvas, hand: np.ndarray, look: Look, length: float, size: float = 1.0) -> None:
    """A hand from its key points.

    Args:
        canvas: drawn on.
        hand: (21, 2).
        look: whose.
        length: from the wrist to the tip of the middle finger, which says how thick it is.
        size: of edges, beside a synthetic speaker's.
    """
    skin, edge = look.skin, dark(look.skin, 0.36)
    wrist = hand[0]
    palm = np.stack([
        wrist + 0.16 * (hand[1] - hand[17]), hand[1], hand[5] + 0.2 * (hand[5] - hand[9]),
        hand[5] * 0.9 + hand[6] * 0.1, hand[9], hand[13], hand[17] + 0.25 * (hand[17] - hand[13]),
        wrist + 0.22 * (hand[17] - hand[1]),
    ])  # fmt: skip
    for finger in _FINGER_ORDER[:-1]:
        _finger(canvas, hand[4 * finger + 1 : 4 * finger + 5], length, edge, skin, 0.074 if finger < 4 else 0.064, size)
    outline = curve(palm)
    canvas.line(outline, edge, 0.004 * size, True)
    canvas.fill(outline, skin)
    for finger in _FINGER_ORDER[:-1]:
        knuckle = hand[4 * finger + 1]
        canvas.tube(knuckle + 0.3 * (wrist - knuckle), knuckle, 0.02 * length, 0.068 * length, skin)
        canvas.dot(knuckle, 0.03 * length, dark(skin, 0.1))
    _finger(canvas, hand[1:5], length, edge, skin, 0.085, size)
    canvas.tube(wrist * 0.5 + hand[1] * 0.5, hand[1], 0.1 * length, 0.09 * length, skin)


def _finger(
    canvas: Canvas, joints: np.ndarray, length: float, edge: Colour, skin: Colour, thick: float, size: float
) -> None:
    """One finger from its knuckle to its tip, its edge drawn first."""
    canvas.line(joints, edge, 2 * thick * length + 0.006 * size)
    canvas.line(joints, skin, 2 * thick * length)
    canvas.dot(joints[-1] + 0.02 * length, 0.45 * thick * length, light(skin, 0.25))
