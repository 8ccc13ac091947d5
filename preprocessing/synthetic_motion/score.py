"""From actions to a score: who moves what when; actions are written one after another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from preprocessing.synthetic_motion.actions import Action
from preprocessing.synthetic_motion.arms import ArmPose, Stroke
from preprocessing.synthetic_motion.legs import FootPlan
from preprocessing.synthetic_motion.movers import Mover

PACE: Final = {"slow": 1.6, "normal": 1.0, "fast": 0.68}
TURNS: Final = {"slight": 45.0, "quarter": 90.0, "half": 180.0}
BOWS: Final = {"slight": 26.0, "deep": 66.0}
STEPS: Final = {"small": 0.7, "normal": 1.0, "big": 1.35}
_STEP: Final = {"forward": 0.48, "back": 0.36, "left": 0.36, "right": 0.36}
_AHEAD: Final = {"forward": (0.0, 1.0), "back": (0.0, -1.0), "left": (1.0, 0.0), "right": (-1.0, 0.0)}
_LOOK: Final = {"forward": 0.0, "left": 1.0, "right": -1.0}

# Poses of an arm: (outward, up, forward).
_WAVE: Final = {
    "normal": (
        ArmPose((0.75, -0.45, 0.35), (-0.30, 0.95, 0.25)),
        ArmPose((0.75, -0.40, 0.35), (0.85, 0.75, 0.20)),
    ),
    "high": (
        ArmPose((0.70, 0.60, 0.25), (-0.45, 1.00, 0.15)),
        ArmPose((0.75, 0.55, 0.25), (0.75, 0.85, 0.15)),
    ),
}
_UP: Final = ArmPose((0.22, 1.00, 0.10), (0.08, 1.00, 0.22))
_UP_FRONT: Final = ArmPose((0.18, 0.00, 1.00), (0.10, 0.25, 1.00))
_UP_SIDE: Final = ArmPose((1.00, 0.00, 0.25), (1.00, 0.20, 0.50))
_LOW: Final = ArmPose((0.32, -0.95, 0.25), (0.22, -0.80, 0.60))
_POINT_BEFORE: Final = ArmPose((0.45, -0.75, 0.50), (0.00, 0.45, 0.90))
_POINT: Final = {
    "forward": ArmPose((0.12, -0.02, 1.00), (-0.08, 0.06, 1.00)),
    "outward": ArmPose((1.00, -0.02, 0.20), (0.98, 0.06, 0.38)),
    "across": ArmPose((-0.58, -0.03, 0.82), (-0.88, 0.05, 0.55)),
}


@dataclass
class Score:
    """All keys of one clip.

    Attributes:
        mover: whose.
        generator: of the clip; gives every movement its own shape.
        arms: strokes by side.
        bow: (seconds, degrees that the trunk leans forward).
        twist: (seconds, degrees that the chest turns left of the pelvis).
        gaze: (seconds, degrees that the head turns left of the chest).
        feet: where they stand and go.
        spans: each action with its start and end in seconds.
    """

    mover: Mover
    generator: np.random.Generator
    arms: dict[str, list[Stroke]] = field(default_factory=lambda: {"left": [], "right": []})
    bow: list[tuple[float, float]] = field(default_factory=list)
    twist: list[tuple[float, float]] = field(default_factory=list)
    gaze: list[tuple[float, float]] = field(default_factory=list)
    feet: FootPlan = field(init=False)
    spans: list[tuple[Action, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.feet = FootPlan(self.mover.stance)

    def add(self, action: Action, start: float) -> float:
        """Write an action that begins at `start` seconds; returns when it ends."""
        pace = PACE[action.speed] / self.mover.tempo * self.around(0.08)
        end = _WRITERS[action.name](self, action, start, pace)
        self.spans.append((action, start, end))
        return end

    def around(self, spread: float) -> float:
        """A random factor near 1."""
        return float(1 + self.generator.uniform(-spread, spread))

    def unlike(self, size: float) -> tuple[np.ndarray, np.ndarray]:
        """How one clip's poses differ from the plain ones."""
        return self.generator.normal(0, size, 3), self.generator.normal(0, size, 3)


def _sides(action: Action) -> tuple[str, ...]:
    return ("left", "right") if action.side == "both" else (str(action.side),)


def _wave(score: Score, action: Action, start: float, pace: float) -> float:
    inward, outward = _WAVE[action.amount]
    lift, half, end = 0.6 * pace, 0.32 * pace, start
    shift = score.unlike(0.05)
    for side in _sides(action):
        own = tuple(a + b for a, b in zip(shift, score.unlike(0.02), strict=True))
        first, second = inward.moved(*own), outward.moved(*own)
        strokes, now = score.arms[side], start
        strokes.append(Stroke(now, now + lift, [_POINT_BEFORE, first]))
        now += lift
        for _ in range(action.times):
            strokes += [Stroke(now, now + half, [second]), Stroke(now + half, now + 2 * half, [first])]
            now += 2 * half
        strokes.append(Stroke(now, now + lift, [_POINT_BEFORE, None]))
        end = now + lift
    return end


def _raise(score: Score, action: Action, start: float, pace: float) -> float:
    through = _UP_SIDE if score.generator.random() < score.mover.through_side else _UP_FRONT
    up, hold = 0.8 * pace, (0.3 if action.times > 1 else float(score.generator.uniform(0.3, 0.8))) * pace
    shift, end = score.unlike(0.05), start
    for side in _sides(action):
        top, way = _UP.moved(*shift), through.moved(*shift)
        strokes, now = score.arms[side], start
        for number in range(action.times):
            strokes.append(Stroke(now, now + up, [way, top]))
            now += up + hold
            last = number == action.times - 1
            strokes.append(Stroke(now, now + up, [way, None if last else _LOW]))
            now += up + (0.0 if last else 0.08 * pace)
        end = now
    return end


def _point(score: Score, action: Action, start: float, pace: float) -> float:
    side, towards = str(action.side), str(action.direction)
    where = "forward" if towards == "forward" else "outward" if towards == side else "across"
    out, hold = 0.7 * pace, float(score.generator.uniform(0.6, 1.1)) * pace
    pose = _POINT[where].moved(*score.unlike(0.04))
    strokes, end = score.arms[side], start + 2 * out + hold
    strokes.append(Stroke(start, start + out, [_POINT_BEFORE, pose]))
    strokes.append(Stroke(end - out, end, [_POINT_BEFORE, None]))
    keys = ((start, 0.0), (start + out, 1.0), (end - out, 1.0), (end, 0.0))
    turn = _LOOK[towards] * (20.0 if where == "across" else 7.0) * score.around(0.25)
    look = _LOOK[towards] * 34.0 * score.around(0.25)
    score.twist += [(when, turn * share) for when, share in keys]
    score.gaze += [(when - 0.08, look * share) for when, share in keys]
    return end


def _step(score: Score, action: Action, start: float, pace: float) -> float:
    direction, feet = str(action.direction), score.feet
    way = _STEP[direction] * STEPS[action.amount] * score.mover.amplitude * score.around(0.08)
    cosine, sine = np.cos(feet.yaw), np.sin(feet.yaw)
    aside, ahead = _AHEAD[direction]
    ahead_of = way * np.array([aside * cosine + ahead * sine, ahead * cosine - aside * sine])
    swing = 0.5 * pace * (0.85 + 0.15 * STEPS[action.amount])
    lift = 0.07 * score.around(0.2)
    lead = direction if direction in ("left", "right") else ("left", "right")[int(score.generator.integers(2))]
    other = "right" if lead == "left" else "left"
    now, centre = start, feet.centre.copy()
    for number in range(action.times):
        centre = centre + ahead_of
        walking = direction in ("forward", "back")
        foot = lead if not walking or number % 2 == 0 else other
        feet.move(foot, now, now + swing, centre, feet.yaw, lift)
        now += 0.92 * swing
        if not walking or number == action.times - 1:  # sideways, the other foot follows at once
            feet.move(other if foot == lead else lead, now, now + swing, centre, feet.yaw, lift)
            now += 0.92 * swing + (0.1 * pace if number < action.times - 1 else 0.0)
    return now + 0.15 * pace


def _turn(score: Score, action: Action, start: float, pace: float) -> float:
    feet, sign = score.feet, 1.0 if action.direction == "left" else -1.0
    whole = sign * np.radians(TURNS[action.amount]) * score.around(0.06)
    pairs = {"slight": 1, "quarter": 2, "half": 3}[action.amount]
    first, second = ("left", "right") if sign > 0 else ("right", "left")
    swing, now, begin = 0.42 * pace, start, feet.yaw
    for number in range(pairs):
        yaw = begin + whole * (number + 1) / pairs
        feet.move(first, now, now + swing, feet.centre, yaw, 0.05 * score.around(0.2))
        now += 0.75 * swing
        feet.move(second, now, now + swing, feet.centre, yaw, 0.05 * score.around(0.2))
        now += 0.85 * swing
    score.gaze += [(start - 0.1, 0.0), (start + swing, sign * 16.0), (now - 0.3 * swing, sign * 8.0), (now + 0.2, 0.0)]
    return now + 0.25 * pace


def _bow(score: Score, action: Action, start: float, pace: float) -> float:
    far = BOWS[action.amount] * score.around(0.1)
    down = (0.65 if action.amount == "slight" else 0.85) * pace
    now = start
    for number in range(action.times):
        hold = float(score.generator.uniform(0.15, 0.4 if action.times > 1 else 0.7)) * pace
        score.bow += [(now, 0.0), (now + down, far), (now + down + hold, far), (now + 2 * down + hold, 0.0)]
        now += 2 * down + hold + (0.12 * pace if number < action.times - 1 else 0.0)
    return now


_WRITERS: Final[dict[str, Callable[[Score, Action, float, float], float]]] = {
    "wave": _wave, "raise": _raise, "point": _point, "step": _step, "turn": _turn, "bow": _bow,
}  # fmt: skip
