"""Draws the figure: a person in flat colours with soft shading, from the very points that are its key points."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from preprocessing.synthetic import head
from preprocessing.synthetic.figure import Figure, figure
from preprocessing.synthetic.motion import still
from preprocessing.synthetic.scenery import wall
from preprocessing.synthetic.speakers import Colour, Speaker, speaker

_SHIFT: Final = 4
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
        canvas = _Canvas(background.copy())
        _person(canvas, person, index)
        frame = canvas.image
        yield frame if canvas_size == size else cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)


def portrait(who: Speaker | int = 0, size: int = 512, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A speaker at rest: picture (size, size, 3) uint8 RGB and its key points with scores (134, 3) float32."""
    who = speaker(who, seed) if isinstance(who, int) else who
    person = figure(who, still(who))
    pose = np.concatenate([person.keypoints[0], person.scores[0][:, None]], -1)
    return next(render(person, size)), pose


class _Canvas:
    """A square picture that is drawn on in fractions of its size, with smooth edges."""

    def __init__(self, image: np.ndarray):
        self.image = image
        self.size = len(image)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        # Fractions run over the picture's edges; OpenCV's whole numbers are pixel centres.
        return np.rint((points * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        cv2.fillPoly(self.image, [self._pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: float, closed: bool = False) -> None:
        thickness = max(1, round(width * self.size))
        cv2.polylines(self.image, [self._pixels(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)

    def dot(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        x, y = self._pixels(centre)
        cv2.circle(self.image, (int(x), int(y)), int(radius * self.size * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT)

    def tube(self, start: np.ndarray, end: np.ndarray, first: float, last: float, colour: Colour) -> None:
        self.fill(_tube(start, end, first, last), colour)


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


def _curve(points: np.ndarray, closed: bool = True) -> np.ndarray:
    return _spline(len(points), closed) @ points


def _tube(start: np.ndarray, end: np.ndarray, first: float, last: float) -> np.ndarray:
    along = end - start
    angle = np.arctan2(along[1], along[0])
    turn = np.linspace(np.pi / 2, 3 * np.pi / 2, 9) + angle
    near = start + first * np.stack([np.cos(turn), np.sin(turn)], -1)
    far = end - last * np.stack([np.cos(turn), np.sin(turn)], -1)
    return np.concatenate([near, far])


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    return tuple(int(round(a + share * (b - a))) for a, b in zip(colour, other))  # type: ignore[return-value]


def _dark(colour: Colour, share: float) -> Colour:
    return _mix(colour, (30, 14, 20), share)


def _light(colour: Colour, share: float) -> Colour:
    return _mix(colour, (255, 246, 232), share)


def _person(canvas: _Canvas, person: Figure, index: int) -> None:
    parts = {name: points[index] for name, points in person.outlines.items()}
    look = person.speaker.look
    if "hair_back" in parts:
        canvas.fill(_curve(parts["hair_back"]), _dark(look.hair, 0.25))
    _trunk(canvas, parts, person.speaker)
    for ear in (parts["ears"][:8], parts["ears"][8:]):
        canvas.fill(_curve(ear), _dark(look.skin, 0.1))
        canvas.fill(_curve(ear.mean(0) + 0.55 * (ear - ear.mean(0))), _dark(look.skin, 0.22))
    canvas.fill(_curve(parts["skin"]), look.skin)
    _shade(canvas, parts)
    _face(canvas, parts, person, index)
    if "hair" in parts:
        _hair(canvas, parts["hair"], look.hair)
    if look.glasses:
        _glasses(canvas, parts)
    for side in (0, 1):
        _arm(canvas, parts, person.speaker, side)


def _trunk(canvas: _Canvas, parts: dict[str, np.ndarray], who: Speaker) -> None:
    look = who.look
    chin, torso = parts["jaw"][8], parts["torso"]
    base = (torso[1] + torso[-2]) / 2
    sides = parts["jaw"][[4, 12]]
    half = np.array([0.052 * look.shoulders, 0.0])
    neck = np.stack([sides[0] * 0.62 + sides[1] * 0.38, sides[1] * 0.62 + sides[0] * 0.38, base + half, base + half * [0.2, 0] + [0, 0.05], base - half * [0.2, 0] + [0, 0.05], base - half])
    neck[0, 0], neck[1, 0] = (sides[0, 0] + chin[0]) / 2 - 0.012, (sides[1, 0] + chin[0]) / 2 + 0.012
    outline = _curve(torso)
    canvas.fill(outline, look.cloth)
    middle = parts["torso"][[0, -1]].mean(0)
    if look.clothing == "sweater":
        collar = np.stack([middle + [-0.074, 0.012], middle + [-0.045, 0.058], middle + [0, 0.074], middle + [0.045, 0.058], middle + [0.074, 0.012]])
        canvas.fill(_curve(collar), look.skin)
        canvas.fill(neck, _dark(look.skin, 0.12))
        canvas.line(_curve(collar, False), _dark(look.cloth, 0.28), 0.016)
        canvas.line(_curve(collar, False), _light(look.cloth, 0.1), 0.010)
    else:
        deep = 0.26 if look.clothing == "blazer" else 0.085
        opening = np.stack([middle + [-0.066, 0.0], middle + [0, deep], middle + [0.066, 0.0]])
        inner = look.inner if look.clothing == "blazer" else look.skin
        canvas.fill(opening, inner)
        if look.clothing == "blazer":
            canvas.fill(np.stack([middle + [-0.056, 0.0], middle + [0, 0.082], middle + [0.056, 0.0]]), look.skin)
        canvas.fill(neck, _dark(look.skin, 0.12))
        _collar(canvas, middle, look, deep)


def _collar(canvas: _Canvas, middle: np.ndarray, look, deep: float) -> None:
    for side in (-1, 1):
        flip = np.array([side, 1])
        if look.clothing == "blazer":
            shirt = np.array([(0.072, -0.004), (0.05, 0.0), (0.004, 0.075), (0.03, 0.098), (0.084, 0.03)])
            canvas.fill(middle + shirt * flip, _light(look.inner, 0.3))
            canvas.line(middle + shirt * flip, _dark(look.inner, 0.25), 0.002, True)
            lapel = np.array([(0.078, 0.004), (0.0, deep), (0.012, deep + 0.03), (0.118, 0.15), (0.098, 0.122), (0.128, 0.10), (0.098, 0.022)])
            canvas.fill(middle + lapel * flip, _light(look.cloth, 0.12))
            canvas.line(middle + lapel * flip, _dark(look.cloth, 0.35), 0.003, True)
        else:
            collar = np.array([(0.07, -0.006), (0.052, -0.002), (0.002, 0.084), (0.045, 0.108), (0.09, 0.03)])
            canvas.fill(middle + collar * flip, _light(look.cloth, 0.2))
            canvas.line(middle + collar * flip, _dark(look.cloth, 0.3), 0.003, True)
    foot = middle + [0, 0.6]
    canvas.line(np.stack([middle + [0.0, deep + 0.012], foot]), _dark(look.cloth, 0.28), 0.003)
    for button in np.arange(deep + 0.05, 0.56, 0.085 if look.clothing == "shirt" else 0.11):
        canvas.dot(middle + [0.0 if look.clothing == "shirt" else 0.012, button], 0.006, _dark(look.cloth, 0.45))


def _shade(canvas: _Canvas, parts: dict[str, np.ndarray]) -> None:
    """Soft light from the upper left over everything drawn so far: a small grey picture, blurred, then multiplied in."""
    shade = np.full((_SHADE_SIZE, _SHADE_SIZE), 128, np.uint8)

    def tone(points: np.ndarray, value: int) -> None:
        cv2.fillPoly(shade, [np.rint(points * _SHADE_SIZE * 16).astype(np.int32)], value, cv2.LINE_8, 4)

    jaw, torso, skin = parts["jaw"], parts["torso"], parts["skin"]
    tone(_tube(torso[-3] + [-0.04, 0.12], torso[-2] + [0.0, 0.55], 0.04, 0.05), 112)
    tone(_tube(torso[2] + [0.0, 0.16], torso[3] + [0.02, 0.55], 0.02, 0.03), 134)
    for side in (0, 1):
        elbow, wrist = parts["elbows"][side] + [0.012, 0.024], parts["wrists"][side] + [0.008, 0.03]
        tone(_tube(elbow, wrist, 0.045, 0.035), 100)
        tone(_tube(wrist, parts[("right_hand", "left_hand")[side]][9] + [0.005, 0.025], 0.03, 0.03), 100)
    tone(np.concatenate([jaw[3:14] + [0.004, 0.032], jaw[[13, 3]]]), 84)
    tone(_curve(skin), 128)
    centre = (jaw[0] + jaw[16]) / 2
    tone(np.concatenate([jaw[8:17], centre + 0.80 * (jaw[16:7:-1] - centre)]), 114)
    tone(_tube(skin[-3] * 0.55 + skin[22] * 0.45, skin[21] * 0.8 + centre * 0.2, 0.03, 0.03), 136)
    nose = parts["nose"]
    tone(np.stack([nose[1], nose[8] + [0.006, 0], nose[6] + [0, 0.012], nose[6]]), 114)
    blurred = cv2.GaussianBlur(shade, (0, 0), 2.2)
    full = cv2.resize(blurred, (canvas.size, canvas.size), interpolation=cv2.INTER_LINEAR)
    cv2.multiply(canvas.image, cv2.merge([full, full, full]), canvas.image, scale=1 / 128)


def _face(canvas: _Canvas, parts: dict[str, np.ndarray], person: Figure, index: int) -> None:
    look = person.speaker.look
    unit = head.UNIT * look.head
    if "beard" in parts:
        canvas.fill(_curve(parts["beard"]), _mix(look.skin, look.hair, 0.72))
    for start, iris in ((0, parts["irises"][0]), (6, parts["irises"][1])):
        _eye(canvas, parts["eyes"][start : start + 6], iris, look, unit, float(person.motion.blink[index]))
    for start in (0, 5):
        brow = _curve(parts["brows"][start : start + 5], False)
        thick = unit * 0.05 * np.interp(np.linspace(0, 1, len(brow)), [0, 0.7, 1], [0.25, 1, 0.8])[:, None] * [0, 1]
        if start == 5:
            thick = thick[::-1]
        canvas.fill(np.concatenate([brow - thick, (brow + thick)[::-1]]), _dark(look.hair, 0.15))
    _nose(canvas, parts["nose"], look, unit)
    _mouth(canvas, parts["outer_lips"], parts["inner_lips"], look)


def _eye(canvas: _Canvas, rim: np.ndarray, iris: np.ndarray, look, unit: float, blink: float) -> None:
    upper, lower = _curve(rim[[0, 1, 2, 3]], False), _curve(rim[[3, 4, 5, 0]], False)
    canvas.fill(np.concatenate([upper, lower[1:]]), (246, 244, 240))
    if blink < 0.85:
        radius = head.IRIS * look.eyes * unit
        canvas.dot(iris, radius, _dark(look.iris, 0.4))
        canvas.dot(iris, 0.82 * radius, look.iris)
        canvas.dot(iris, 0.45 * radius, (16, 12, 14))
        canvas.dot(iris + [-0.32 * radius, -0.36 * radius], 0.24 * radius, (255, 255, 255))
    lid = _dark(look.skin, 0.12)
    lift = unit * 0.085 * np.sin(np.linspace(0, np.pi, len(upper)))[:, None] * [0, 1]
    canvas.fill(np.concatenate([upper, (upper - lift * (1 + 0.6 * blink))[::-1]]), lid)
    canvas.fill(np.concatenate([lower, (lower + 0.6 * lift)[::-1]]), look.skin)
    canvas.line(upper, _dark(look.hair, 0.65), unit * 0.035)
    canvas.line(lower, _dark(look.skin, 0.3), unit * 0.012)


def _nose(canvas: _Canvas, nose: np.ndarray, look, unit: float) -> None:
    base = _curve(nose[4:9], False)
    canvas.line(np.stack([nose[0] + [0.01, 0.03], nose[8] + [-0.004, -0.014]]), _dark(look.skin, 0.1), unit * 0.03)
    wings = np.stack([nose[4] + [0, -unit * 0.07], nose[4], nose[4] + [unit * 0.02, unit * 0.035]])
    canvas.line(_curve(wings, False), _dark(look.skin, 0.28), unit * 0.03)
    wings = np.stack([nose[8] + [0, -unit * 0.07], nose[8], nose[8] + [-unit * 0.02, unit * 0.035]])
    canvas.line(_curve(wings, False), _dark(look.skin, 0.28), unit * 0.03)
    canvas.line(base, _dark(look.skin, 0.26), unit * 0.028)
    for nostril in (nose[5], nose[7]):
        canvas.dot(nostril + [0, -unit * 0.004], unit * 0.032, _dark(look.skin, 0.55))
    canvas.dot(nose[3] + [-unit * 0.02, -unit * 0.02], unit * 0.04, _light(look.skin, 0.3))


def _mouth(canvas: _Canvas, outer: np.ndarray, inner: np.ndarray, look) -> None:
    red = _mix(look.skin, (176, 58, 66), 0.55 if look.lips > 1 else 0.34)
    upper, lower = _curve(inner[[0, 1, 2, 3, 4]], False), _curve(inner[[4, 5, 6, 7, 0]], False)[::-1]
    top, bottom = _curve(outer[:7], False), _curve(outer[[6, 7, 8, 9, 10, 11, 0]], False)
    canvas.fill(np.concatenate([top, bottom[1:]]), red)
    canvas.fill(np.concatenate([top, upper[::-1]]), _dark(red, 0.16))
    gap = lower - upper
    if gap[:, 1].max() * canvas.size > 0.6:
        canvas.fill(np.concatenate([upper, lower[::-1]]), (70, 20, 26))
        edge = np.minimum(gap, 0.55 * gap.max(0) * [1, 1]) * 0.62
        teeth = upper + np.minimum(edge, head.UNIT * 0.085)
        tongue = lower - 0.42 * gap
        canvas.fill(np.concatenate([tongue[5:-5], lower[::-1][5:-5]]), (176, 84, 88))
        canvas.fill(np.concatenate([upper, teeth[::-1]]), (244, 240, 232))
        canvas.line(upper, _dark(red, 0.4), head.UNIT * 0.014)
    else:
        canvas.line(upper, _dark(red, 0.55), head.UNIT * 0.026)
    shine = _curve(outer[[8, 9, 10]], False) * 0.6 + _curve(inner[[5, 6, 7]], False) * 0.4
    canvas.line(shine, _light(red, 0.22), head.UNIT * 0.022)


def _hair(canvas: _Canvas, outline: np.ndarray, colour: Colour) -> None:
    edge = _curve(outline)
    canvas.fill(edge, colour)
    crown, line = outline[:11], outline[11:]
    strands = _curve(crown, False)
    roots = _curve(line[::-1], False)
    for share in (0.28, 0.5, 0.72):
        count = min(len(strands), len(roots))
        pick = np.linspace(0, 1, count)
        between = (1 - share) * strands[(pick * (len(strands) - 1)).astype(int)] + share * roots[(pick * (len(roots) - 1)).astype(int)]
        lit = between[int(0.55 * count) : int(0.88 * count)]
        canvas.line(lit, _light(colour, 0.13), 0.004)
        canvas.line(between[int(0.08 * count) : int(0.45 * count)], _dark(colour, 0.25), 0.003)


def _glasses(canvas: _Canvas, parts: dict[str, np.ndarray]) -> None:
    eyes, frame = parts["eyes"], (44, 36, 40)
    centres = eyes[:6].mean(0), eyes[6:].mean(0)
    across = centres[1] - centres[0]
    turn = np.linspace(0, 2 * np.pi, 25)[:-1]
    for centre in centres:
        rim = centre + 0.36 * np.linalg.norm(across) * np.stack([np.cos(turn), 0.86 * np.sin(turn)], -1) + [0, 0.004]
        canvas.line(rim, frame, 0.006, True)
    canvas.line(np.stack([centres[0] + 0.36 * across, centres[1] - 0.36 * across]), frame, 0.006)
    canvas.line(np.stack([centres[0] - 0.36 * across, parts["ears"][4] * 0.3 + parts["ears"][0] * 0.7]), frame, 0.006)
    canvas.line(np.stack([centres[1] + 0.36 * across, parts["ears"][8] * 0.3 + parts["ears"][12] * 0.7]), frame, 0.006)


def _arm(canvas: _Canvas, parts: dict[str, np.ndarray], who: Speaker, side: int) -> None:
    look = who.look
    shoulder, elbow, wrist = parts["shoulders"][side], parts["elbows"][side], parts["wrists"][side]
    hand = parts[("right_hand", "left_hand")[side]]
    cloth, edge = _mix(look.cloth, _dark(look.cloth, 0.5), 0.12), _dark(look.cloth, 0.34)
    width = 0.043 * look.shoulders
    cuff = elbow + 0.86 * (wrist - elbow)
    _hand(canvas, hand, look)
    canvas.tube(elbow + 0.7 * (wrist - elbow), wrist, 0.026 * look.hand, 0.023 * look.hand, look.skin)
    # The sleeve's edge begins below the shoulder, so that the sleeve grows out of the trunk.
    canvas.tube(shoulder + 0.35 * (elbow - shoulder), elbow, width + 0.0015, 0.044, edge)
    canvas.tube(elbow, cuff, 0.044, 0.034, edge)
    canvas.tube(shoulder, elbow, width, 0.041, cloth)
    canvas.tube(elbow, cuff, 0.041, 0.031, cloth)
    for share, light in ((0.75, 0.03), (0.5, 0.06), (0.26, 0.09)):
        toward = np.array([-0.008, -0.005]) * (1 - share)
        pale = _light(cloth, light)
        canvas.tube(shoulder + toward, elbow + toward, share * width, share * 0.041, pale)
        canvas.tube(elbow + toward, cuff + toward, share * 0.041, share * 0.031, pale)
    across = np.array([-(wrist - elbow)[1], (wrist - elbow)[0]])
    across = across / max(float(np.linalg.norm(across)), 1e-6) * 0.031
    canvas.line(np.stack([cuff - across, cuff + across]), edge, 0.005)


def _hand(canvas: _Canvas, hand: np.ndarray, look) -> None:
    skin, edge = look.skin, _dark(look.skin, 0.36)
    length = 0.118 * look.hand
    wrist = hand[0]
    palm = np.stack([
        wrist + 0.16 * (hand[1] - hand[17]), hand[1], hand[5] + 0.2 * (hand[5] - hand[9]), hand[5] * 0.9 + hand[6] * 0.1,
        hand[9], hand[13], hand[17] + 0.25 * (hand[17] - hand[13]), wrist + 0.22 * (hand[17] - hand[1]),
    ])  # fmt: skip
    for finger in _FINGER_ORDER[:-1]:
        _finger(canvas, hand[4 * finger + 1 : 4 * finger + 5], length, edge, skin, 0.074 if finger < 4 else 0.064)
    outline = _curve(palm)
    canvas.line(outline, edge, 0.004, True)
    canvas.fill(outline, skin)
    for finger in _FINGER_ORDER[:-1]:
        knuckle = hand[4 * finger + 1]
        canvas.tube(knuckle + 0.3 * (wrist - knuckle), knuckle, 0.02 * length, 0.068 * length, skin)
        canvas.dot(knuckle, 0.03 * length, _dark(skin, 0.1))
    _finger(canvas, hand[1:5], length, edge, skin, 0.085)
    canvas.tube(wrist * 0.5 + hand[1] * 0.5, hand[1], 0.1 * length, 0.09 * length, skin)


def _finger(canvas: _Canvas, joints: np.ndarray, length: float, edge: Colour, skin: Colour, thick: float) -> None:
    """One finger from its knuckle to its tip, its edge drawn first."""
    canvas.line(joints, edge, 2 * thick * length + 0.006)
    canvas.line(joints, skin, 2 * thick * length)
    canvas.dot(joints[-1] + 0.02 * length, 0.45 * thick * length, _light(skin, 0.25))
