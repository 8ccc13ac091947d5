"""Draws what is in a face and on it: lids and irises, brows, nose, lips and teeth, hair, glasses."""

import numpy as np

from preprocessing.synthetic import head
from preprocessing.synthetic.canvas import Canvas, curve, dark, light, mix
from preprocessing.synthetic.speakers import Colour, Look


def face(canvas: Canvas, parts: dict[str, np.ndarray], look: Look, blink: float, size: float = 1.0) -> None:
    """Everything that lies on the skin.

    Args:
        canvas: drawn on.
        parts: outlines of the face, of one frame.
        look: whose.
        blink: 0 open to 1 shut.
        size: of the head in the picture, beside a synthetic speaker's.
    """
    unit = head.UNIT * look.head * size
    if "beard" in parts:
        canvas.fill(curve(parts["beard"]), mix(look.skin, look.hair, 0.72))
    for start, iris in ((0, parts["irises"][0]), (6, parts["irises"][1])):
        _eye(canvas, parts["eyes"][start : start + 6], iris, look, unit, blink)
    for start in (0, 5):
        brow = curve(parts["brows"][start : start + 5], False)
        thick = unit * 0.05 * np.interp(np.linspace(0, 1, len(brow)), [0, 0.7, 1], [0.25, 1, 0.8])[:, None] * [0, 1]
        if start == 5:
            thick = thick[::-1]
        canvas.fill(np.concatenate([brow - thick, (brow + thick)[::-1]]), dark(look.hair, 0.15))
    _nose(canvas, parts["nose"], look, unit)
    _mouth(canvas, parts["outer_lips"], parts["inner_lips"], look, head.UNIT * size)


def _eye(canvas: Canvas, rim: np.ndarray, iris: np.ndarray, look: Look, unit: float, blink: float) -> None:
    upper, lower = curve(rim[[0, 1, 2, 3]], False), curve(rim[[3, 4, 5, 0]], False)
    canvas.fill(np.concatenate([upper, lower[1:]]), (246, 244, 240))
    if blink < 0.85:
        radius = head.IRIS * look.eyes * unit
        canvas.dot(iris, radius, dark(look.iris, 0.4))
        canvas.dot(iris, 0.82 * radius, look.iris)
        canvas.dot(iris, 0.45 * radius, (16, 12, 14))
        canvas.dot(iris + [-0.32 * radius, -0.36 * radius], 0.24 * radius, (255, 255, 255))
    lid = dark(look.skin, 0.12)
    lift = unit * 0.085 * np.sin(np.linspace(0, np.pi, len(upper)))[:, None] * [0, 1]
    canvas.fill(np.concatenate([upper, (upper - lift * (1 + 0.6 * blink))[::-1]]), lid)
    canvas.fill(np.concatenate([lower, (lower + 0.6 * lift)[::-1]]), look.skin)
    canvas.line(upper, dark(look.hair, 0.65), unit * 0.035)
    canvas.line(lower, dark(look.skin, 0.3), unit * 0.012)


def _nose(canvas: Canvas, nose: np.ndarray, look: Look, unit: float) -> None:
    base = curve(nose[4:9], False)
    canvas.line(np.stack([nose[0] + [0.01, 0.03], nose[8] + [-0.004, -0.014]]), dark(look.skin, 0.1), unit * 0.03)
    wings = np.stack([nose[4] + [0, -unit * 0.07], nose[4], nose[4] + [unit * 0.02, unit * 0.035]])
    canvas.line(curve(wings, False), dark(look.skin, 0.28), unit * 0.03)
    wings = np.stack([nose[8] + [0, -unit * 0.07], nose[8], nose[8] + [-unit * 0.02, unit * 0.035]])
    canvas.line(curve(wings, False), dark(look.skin, 0.28), unit * 0.03)
    canvas.line(base, dark(look.skin, 0.26), unit * 0.028)
    for nostril in (nose[5], nose[7]):
        canvas.dot(nostril + [0, -unit * 0.004], unit * 0.032, dark(look.skin, 0.55))
    canvas.dot(nose[3] + [-unit * 0.02, -unit * 0.02], unit * 0.04, light(look.skin, 0.3))


def _mouth(canvas: Canvas, outer: np.ndarray, inner: np.ndarray, look: Look, unit: float) -> None:
    red = mix(look.skin, (176, 58, 66), 0.55 if look.lips > 1 else 0.34)
    upper, lower = curve(inner[[0, 1, 2, 3, 4]], False), curve(inner[[4, 5, 6, 7, 0]], False)[::-1]
    top, bottom = curve(outer[:7], False), curve(outer[[6, 7, 8, 9, 10, 11, 0]], False)
    canvas.fill(np.concatenate([top, bottom[1:]]), red)
    canvas.fill(np.concatenate([top, upper[::-1]]), dark(red, 0.16))
    gap = lower - upper
    if gap[:, 1].max() * canvas.size > 0.6:
        canvas.fill(np.concatenate([upper, lower[::-1]]), (70, 20, 26))
        edge = np.minimum(gap, 0.55 * gap.max(0) * [1, 1]) * 0.62
        teeth = upper + np.minimum(edge, unit * 0.085)
        tongue = lower - 0.42 * gap
        canvas.fill(np.concatenate([tongue[5:-5], lower[::-1][5:-5]]), (176, 84, 88))
        canvas.fill(np.concatenate([upper, teeth[::-1]]), (244, 240, 232))
        canvas.line(upper, dark(red, 0.4), unit * 0.014)
    else:
        canvas.line(upper, dark(red, 0.55), unit * 0.026)
    shine = curve(outer[[8, 9, 10]], False) * 0.6 + curve(inner[[5, 6, 7]], False) * 0.4
    canvas.line(shine, light(red, 0.22), unit * 0.022)


def hair(canvas: Canvas, outline: np.ndarray, colour: Colour, size: float = 1.0) -> None:
    """The hair in front of the head, with strands; `size` as in `face`."""
    edge = curve(outline)
    canvas.fill(edge, colour)
    crown, line = outline[:11], outline[11:]
    strands = curve(crown, False)
    roots = curve(line[::-1], False)
    for share in (0.28, 0.5, 0.72):
        count = min(len(strands), len(roots))
        pick = np.linspace(0, 1, count)
        between = (1 - share) * strands[(pick * (len(strands) - 1)).astype(int)] + share * roots[
            (pick * (len(roots) - 1)).astype(int)
        ]
        lit = between[int(0.55 * count) : int(0.88 * count)]
        canvas.line(lit, light(colour, 0.13), 0.004 * size)
        canvas.line(between[int(0.08 * count) : int(0.45 * count)], dark(colour, 0.25), 0.003 * size)


def glasses(canvas: Canvas, parts: dict[str, np.ndarray], size: float = 1.0) -> None:
    """Round glasses on the eyes, their arms to the ears; `size` as in `face`."""
    eyes, frame = parts["eyes"], (44, 36, 40)
    centres = eyes[:6].mean(0), eyes[6:].mean(0)
    across = centres[1] - centres[0]
    turn = np.linspace(0, 2 * np.pi, 25)[:-1]
    for centre in centres:
        rim = (
            centre
            + 0.36 * np.linalg.norm(across) * np.stack([np.cos(turn), 0.86 * np.sin(turn)], -1)
            + [0, 0.004 * size]
        )
        canvas.line(rim, frame, 0.006 * size, True)
    canvas.line(np.stack([centres[0] + 0.36 * across, centres[1] - 0.36 * across]), frame, 0.006 * size)
    canvas.line(
        np.stack([centres[0] - 0.36 * across, parts["ears"][4] * 0.3 + parts["ears"][0] * 0.7]), frame, 0.006 * size
    )
    canvas.line(
        np.stack([centres[1] + 0.36 * across, parts["ears"][8] * 0.3 + parts["ears"][12] * 0.7]), frame, 0.006 * size
    )
