"""What is known of a body before it is seen: how it rests, how far its joints turn, which way they never bend.

The numbers are ours: a normal distribution for every axis of every joint, about a person who stands with hanging arms.
Axes are SMPL-X's in its rest pose, so x runs along the arms (their twist) and y along the legs.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import torch
from torch import Tensor

from models.human.body import JOINTS

# Mean and standard deviation in radians about x, y, z; a right joint is its left one mirrored (y and z change sign).
_BODY: Final[dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {
    "hip": ((-0.05, 0.0, 0.05), (0.6, 0.25, 0.25)),
    "knee": ((0.15, 0.0, 0.0), (0.7, 0.08, 0.08)),
    "ankle": ((0.0, 0.0, 0.0), (0.3, 0.15, 0.15)),
    "foot": ((0.0, 0.0, 0.0), (0.15, 0.05, 0.05)),
    "spine1": ((0.0, 0.0, 0.0), (0.15, 0.12, 0.1)),
    "spine2": ((0.0, 0.0, 0.0), (0.1, 0.12, 0.1)),
    "spine3": ((0.0, 0.0, 0.0), (0.1, 0.12, 0.1)),
    "neck": ((0.05, 0.0, 0.0), (0.25, 0.3, 0.2)),
    "head": ((0.0, 0.0, 0.0), (0.25, 0.35, 0.2)),
    "collar": ((0.0, 0.0, -0.05), (0.08, 0.15, 0.15)),
    "shoulder": ((0.1, -0.2, -1.1), (0.7, 0.7, 0.7)),
    "elbow": ((0.0, -0.5, 0.0), (0.7, 0.9, 0.1)),
    "wrist": ((0.0, 0.0, -0.1), (0.3, 0.3, 0.5)),
}
# About x, y, z of finger joints, from the palm to the tip, and of the thumb's; means are the model's own.
_FINGER: Final = ((0.1, 0.2, 0.5), (0.05, 0.06, 0.5), (0.05, 0.06, 0.4))
_THUMB: Final = ((0.35, 0.35, 0.35), (0.2, 0.3, 0.2), (0.1, 0.4, 0.2))
_FINGERS: Final = 4
JAW: Final = (0.15, 0.03, 0.03)

# The least and the greatest angle of hinges, and of the hip: joint, axis, in radians; mirrored like the above.
_HINGES: Final = (("knee", 0, 0.0, 2.6), ("elbow", 1, -2.6, 0.0), ("hip", 0, -2.3, 0.4))
_FLEXION: Final = (-1.9, 0.3)  # of all finger joints about z
_JAW_OPEN: Final = (0.0, 0.6)
STIFFNESS: Final = 0.05
"""Radians by which a joint may pass its limit at the cost of one standard deviation."""
LEANING: Final = 0.25
"""Radians by which the pelvis leans from the upright as the camera sees it; standard deviation."""
BEHIND: Final = 0.12
"""Metres by which a wrist may be behind the chest: gestures are made in front of the body."""


def body_prior() -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (63,) of the 21 body joints' axis-angle vectors."""
    means, deviations = [], []
    for joint in JOINTS[1:]:
        side, _, name = joint.rpartition("_")
        mean, deviation = _BODY[name]
        means.append((mean[0], -mean[1], -mean[2]) if side == "right" else mean)
        deviations.append(deviation)
    return torch.tensor(means).flatten(), torch.tensor(deviations).flatten()


def hand_deviation() -> Tensor:
    """Standard deviation (45,) of a hand's axis-angle vectors about the model's own mean."""
    return torch.tensor((*_FINGER * _FINGERS, *_THUMB)).flatten()


def limits(body: Tensor, hands: Tensor, jaw: Tensor) -> Tensor:
    """How far joints are past their limits, squared and summed (T,), in units of `STIFFNESS`.

    Args:
        body: (T, 63).
        hands: (T, 2, 45) left and right.
        jaw: (T, 3).
    """
    index, sign, low, high = _bounds()
    flexion = hands.unflatten(-1, (15, 3))[:, :, : 3 * _FINGERS, 2].flatten(1)
    angle = torch.cat([body.index_select(1, index), flexion, jaw[:, :1]], 1) * sign
    return ((angle - angle.clamp(low, high)) / STIFFNESS).square().sum(1)


@cache
def _bounds() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which of the 63 numbers of a body are hinges; then sign, least and greatest of these, finger joints and jaw."""
    hinges = []
    for name, axis, low, high in _HINGES:
        for side, sign in (("left", 1), ("right", 1 if axis == 0 else -1)):
            hinges.append((3 * (JOINTS.index(f"{side}_{name}") - 1) + axis, sign, low, high))
    fingers = [(sign, *_FLEXION) for sign in (1, -1) for _ in range(3 * _FINGERS)]
    bounds = torch.tensor([*(hinge[1:] for hinge in hinges), *fingers, (1, *_JAW_OPEN)])
    signs, lows, highs = bounds.unbind(1)
    return torch.tensor([hinge[0] for hinge in hinges]), signs, lows, highs
