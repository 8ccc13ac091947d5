"""The whole figure: a motion brought to outlines for drawing and to the 134 key points, both from the same points."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.human import keypoints as layout
from preprocessing.synthetic import head
from preprocessing.synthetic.motion import Motion
from preprocessing.synthetic.speakers import Speaker

_HAND_LENGTH: Final = 0.118
_SHOULDER: Final = (0.16, 0.53)
_UPPER_ARM: Final = 0.21
_HIP: Final = (0.1, 0.955)
# Of a hand that points up with its thumb at +x, in hand lengths: where each finger begins, its bones, its slant.
_FINGERS: Final = (
    ((0.15, 0.13), (0.19, 0.17, 0.13), 48.0),
    ((0.15, 0.47), (0.21, 0.13, 0.10), 7.0),
    ((0.045, 0.49), (0.23, 0.145, 0.11), 1.0),
    ((-0.06, 0.465), (0.21, 0.135, 0.10), -6.0),
    ((-0.155, 0.42), (0.165, 0.10, 0.085), -14.0),
)
_BEND: Final = np.cumsum(np.deg2rad([48.0, 72.0, 48.0]))
_TORSO: Final = np.array(
    [(0.05, 0.43), (0.075, 0.457), (0.128, 0.474), (0.176, 0.496),
     (0.197, 0.545), (0.188, 0.64), (0.178, 0.75), (0.166, 0.86), (0.166, 1.06)]
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A drawn person over T frames, everything in fractions of the frame.

    Args:
        speaker: whose looks are drawn.
        motion: what was put in.
        keypoints: (T, 134, 2) float32; feet, knees and ankles, out of the picture, are (-1, -1).
        scores: (T, 134) float32, 1 or 0.
        outlines: (T, n, 2) by name, what `draw` fills and what the key points are taken from.
    """

    speaker: Speaker
    motion: Motion
    keypoints: np.ndarray
    scores: np.ndarray
    outlines: dict[str, np.ndarray]


def figure(speaker: Speaker, motion: Motion) -> Figure:
    """Place every part of a speaker for every frame of a motion."""
    look = speaker.look
    shapes = head.face(motion, look)
    outlines = {name: head.place(points, motion, look) for name, points in shapes.items()}
    outlines |= {name: head.place(points, motion, look) for name, points in hair_shapes(speaker, motion).items()}
    outlines |= _trunk(speaker, motion)
    outlines |= _arms(speaker, motion, outlines)
    keypoints, scores = _keypoints(motion.frames, outlines)
    return Figure(speaker, motion, keypoints, scores, outlines)


def _trunk(speaker: Speaker, motion: Motion) -> dict[str, np.ndarray]:
    right = _TORSO * [-speaker.look.shoulders, 1]
    shape = np.concatenate([right, (right * [-1, 1])[::-1]]) + [0.5, 0]
    # The upper body sways as a whole, the hips hardly.
    follow = np.clip((1.0 - shape[:, 1]) / 0.45, 0.1, 1)[None, :, None]
    rise = np.clip((0.75 - shape[:, 1]) / 0.3, 0, 1)[None]
    torso = shape + follow * motion.trunk[:, None]
    torso[..., 1] += rise * motion.breath[:, None]
    shoulders = np.array([(-_SHOULDER[0], _SHOULDER[1]), (_SHOULDER[0], _SHOULDER[1])]) * [
        speaker.look.shoulders,
        1,
    ] + [0.5, 0]
    shoulders = shoulders + motion.trunk[:, None]
    shoulders[..., 1] += motion.breath[:, None]
    hips = np.array([(0.5 - _HIP[0], _HIP[1]), (0.5 + _HIP[0], _HIP[1])]) + 0.1 * motion.trunk[:, None]
    return {"torso": torso, "shoulders": shoulders, "hips": hips}


def _arms(speaker: Speaker, motion: Motion, outlines: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    shoulders, wrists = outlines["shoulders"], motion.wrists
    elbows = np.empty_like(wrists)
    for side, outward in enumerate((-1.0, 1.0)):
        # The elbow hangs a little outside the shoulder and follows the wrist a part of the way; the rest is depth.
        aim = shoulders[:, side] + [outward * 0.062, 0.2]
        moved = wrists[:, side] - [0.5 + speaker.habits.rest[side][0], speaker.habits.rest[side][1]]
        aim = aim + moved * [0.3, 0.22] - shoulders[:, side]
        elbows[:, side] = shoulders[:, side] + _UPPER_ARM * aim / np.linalg.norm(aim, axis=-1, keepdims=True)
    parts = {"elbows": elbows, "wrists": wrists}
    for side, name in enumerate(("right_hand", "left_hand")):
        parts[name] = _hand(speaker, motion, side)
    return parts


def _hand(speaker: Speaker, motion: Motion, side: int) -> np.ndarray:
    """(T, 21, 2): the back of a hand that points inward, thumb up; bent fingers come towards the viewer."""
    length = _HAND_LENGTH * speaker.look.hand
    points = hand_shape(motion.curl[:, side], motion.spread[:, side])
    # A hand at rest points inward and a little down.
    angle = np.deg2rad(-24.0 + motion.turn[:, side])[:, None]
    inward = 1.0 if side == 0 else -1.0
    ahead, thumb = points[..., 1], points[..., 0]
    x = ahead * np.cos(angle) - thumb * np.sin(angle)
    y = -(ahead * np.sin(angle) + thumb * np.cos(angle))
    return motion.wrists[:, side, None] + length * np.stack([inward * x, y], -1)


def hand_shape(curl: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """A hand that points up with its thumb at +x, (T, 21, 2) in hand lengths from the wrist.

    Args:
        curl: (T, 5) of the fingers from thumb to little, 0 straight to 1; bent ones come towards the viewer.
        spread: (T,) of the fingers, 0 to 1.
    """
    frames = len(curl)
    points = np.zeros((frames, 21, 2))
    for number, (base, bones, slant) in enumerate(_FINGERS):
        tilt = np.deg2rad(slant) * (0.55 + 0.9 * spread)
        at = np.repeat(np.array(base)[None], frames, 0)
        points[:, 4 * number + 1] = at
        for joint, bone in enumerate(bones):
            bend = np.cos(curl[:, number] * _BEND[joint] * (0.35 if number == 0 else 1.0))
            turn = tilt * (1 - 0.25 * joint) if number == 0 else tilt
            at = at + (bone * bend)[:, None] * np.stack([np.sin(turn), np.cos(turn)], -1)
            points[:, 4 * number + 2 + joint] = at
    return points


def _keypoints(frames: int, outlines: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    points = np.full((frames, layout.POINTS, 2), -1.0)
    eyes, shoulders = outlines["eyes"], outlines["shoulders"]
    points[:, layout.NOSE] = outlines["nose"][:, 3]
    points[:, layout.NECK] = shoulders.mean(1)
    points[:, [layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER]] = shoulders
    points[:, [layout.RIGHT_ELBOW, layout.LEFT_ELBOW]] = outlines["elbows"]
    points[:, [layout.RIGHT_WRIST, layout.LEFT_WRIST]] = outlines["wrists"]
    points[:, [8, 11]] = outlines["hips"]
    points[:, 14], points[:, 15] = eyes[:, :6].mean(1), eyes[:, 6:].mean(1)
    points[:, 16], points[:, 17] = outlines["ears"][:, :8].mean(1), outlines["ears"][:, 8:].mean(1)
    order = ("jaw", "brows", "nose", "eyes", "outer_lips", "inner_lips")
    points[:, layout.FACE] = np.concatenate([outlines[name] for name in order], 1)
    points[:, layout.LEFT_HAND], points[:, layout.RIGHT_HAND] = outlines["left_hand"], outlines["right_hand"]
    present = (points > -1).all(-1)
    inside = ((points >= 0) & (points <= 1)).all(-1)
    # What leaves the picture keeps its place, as the schema says, but no detector would be sure of it.
    scores = np.where(inside, 1.0, np.where(present, 0.2, 0.0))
    return points.astype(np.float32), scores.astype(np.float32)


def hair_shapes(speaker: Speaker, motion: Motion) -> dict[str, np.ndarray]:
    """Outlines (n, 3) or (T, n, 3) in head units, where there are any: `hair_back` behind the head, `hair`, `beard`."""
    style, look = speaker.look.hairstyle, speaker.look
    shapes: dict[str, np.ndarray] = {}
    crown = np.array([(0.8, 0.06), (0.85, -0.25), (0.83, -0.55), (0.7, -0.88), (0.42, -1.1), (0.0, -1.17)])
    crown = np.concatenate([crown, crown[-2::-1] * [-1, 1]])
    lines = {
        "short": [
            (-0.73, 0.02), (-0.7, -0.3), (-0.58, -0.54), (-0.25, -0.62),
            (0.25, -0.62), (0.58, -0.54), (0.7, -0.3), (0.73, 0.02)],
        "side": [
            (-0.74, 0.06), (-0.72, -0.22), (-0.62, -0.42), (-0.2, -0.6),
            (0.3, -0.74), (0.56, -0.6), (0.7, -0.3), (0.74, 0.06)],
        "bob": [
            (-0.76, 0.42), (-0.68, -0.05), (-0.6, -0.34), (-0.3, -0.52),
            (0.25, -0.7), (0.55, -0.5), (0.69, -0.1), (0.76, 0.42)],
        "long": [
            (-0.74, 0.2), (-0.68, -0.18), (-0.42, -0.52), (-0.05, -0.76),
            (0.05, -0.76), (0.42, -0.52), (0.68, -0.18), (0.74, 0.2)],
        "bun": [
            (-0.74, 0.0), (-0.7, -0.34), (-0.52, -0.6), (-0.2, -0.72),
            (0.2, -0.72), (0.52, -0.6), (0.7, -0.34), (0.74, 0.0)],
        "curly": [
            (-0.74, 0.1), (-0.68, -0.22), (-0.5, -0.45), (-0.2, -0.5),
            (0.2, -0.5), (0.5, -0.45), (0.68, -0.22), (0.74, 0.1)],
    }  # fmt: skip
    if style in lines:
        line = head.skull(np.array(lines[style]), look, 0.02)
        top = np.concatenate([crown, np.zeros((len(crown), 1))], -1)
        shapes["hair"] = np.concatenate([top, line])
    if style == "long":
        half = np.array([(0.6, -0.9), (0.88, -0.5), (0.95, 0.1), (0.99, 0.7), (1.04, 1.25), (0.9, 1.7), (0.55, 1.8)])
        shapes["hair_back"] = _behind(np.concatenate([half, (half * [-1, 1])[::-1]]))
    if style == "bob":
        half = np.array(
            [(0.55, -0.95), (0.86, -0.55), (0.95, 0.0), (0.97, 0.5), (0.93, 0.92), (0.74, 1.04), (0.5, 0.95)]
        )
        shapes["hair_back"] = _behind(np.concatenate([half, (half * [-1, 1])[::-1]]))
    if style == "bun":
        turn = np.linspace(0, 2 * np.pi, 13)[:-1]
        shapes["hair_back"] = _behind(np.stack([0.36 * np.cos(turn), 0.32 * np.sin(turn) - 1.28], -1))
    if style == "curly":
        turn = np.linspace(-0.15 * np.pi, 1.15 * np.pi, 31)
        waves = 1 + 0.07 * (np.arange(31) % 2)
        shapes["hair_back"] = _behind(np.stack([1.02 * waves * np.cos(turn), -1.12 * waves * np.sin(turn) - 0.22], -1))
    if look.beard:
        half = np.array([(0.752, 0.1), (0.735, 0.4), (0.69, 0.6), (0.6, 0.78), (0.48, 0.93), (0.33, 1.06), (0.0, 1.16)])
        inner = np.array([(0.0, 0.54), (0.2, 0.56), (0.36, 0.62), (0.5, 0.52), (0.64, 0.2)])
        right = np.concatenate([half * [-1, 1], half[-2::-1]])
        edge = np.concatenate([inner[::-1], inner[1:] * [-1, 1]])
        shapes["beard"] = head.with_jaw(head.skull(np.concatenate([right, edge]), look, 0.01), motion)
    return shapes


def _behind(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.full((len(points), 1), -0.35)], -1)
