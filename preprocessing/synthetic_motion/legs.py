"""Feet, pelvis and legs: feet that stand or swing, a pelvis carried by them, legs by two-bone inverse kinematics."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from models.human.body import JOINTS, OFFSETS
from models.human.motion import FPS
from preprocessing.synthetic_motion.curves import minimum_jerk

SIDES: Final = ("left", "right")
_OFFSETS: Final = np.asarray(OFFSETS, dtype=np.float64)
_ANKLE_TO_TOES: Final = _OFFSETS[JOINTS.index("left_foot")]
ANKLE_HEIGHT: Final = -float(_ANKLE_TO_TOES[1])
_LEG: Final = {
    side: tuple(_OFFSETS[JOINTS.index(f"{side}_{part}")] for part in ("hip", "knee", "ankle")) for side in SIDES
}
_THIGH, _SHIN = (float(np.linalg.norm(vector)) for vector in _LEG["left"][1:])
_STRAIGHT: Final = 0.997


@dataclass(frozen=True)
class Swing:
    """One foot goes to another place.

    Attributes:
        foot: "left" or "right".
        start, end: seconds.
        place: (x, z) of the ankle in metres, where it lands.
        yaw: radians that the body's own forward has turned left by then.
        lift: metres.
    """

    foot: str
    start: float
    end: float
    place: tuple[float, float]
    yaw: float
    lift: float


@dataclass
class FootPlan:
    """Where the feet stand and go; swings are added in order.

    Attributes:
        stance: metres between the ankles.
        centre: (x, z) between the feet once all swings are done.
        yaw: of the body by then, in radians, to the left.
    """

    stance: float
    centre: np.ndarray = field(default_factory=lambda: np.zeros(2))
    yaw: float = 0.0
    swings: list[Swing] = field(default_factory=list)

    def own(self, foot: str, centre: np.ndarray, yaw: float) -> tuple[float, float]:
        """Where a foot belongs when the body stands at `centre`."""
        aside = (0.5 if foot == "left" else -0.5) * self.stance
        return float(centre[0] + aside * np.cos(yaw)), float(centre[1] - aside * np.sin(yaw))

    def move(self, foot: str, start: float, end: float, centre: np.ndarray, yaw: float, lift: float) -> None:
        """Swing a foot to where it belongs when the body stands at `centre` with `yaw`, which it then does."""
        self.swings.append(Swing(foot, start, end, self.own(foot, centre, yaw), yaw, lift))
        self.centre, self.yaw = np.array(centre, dtype=np.float64), yaw


@dataclass(frozen=True)
class Ground:
    """What the feet do at each frame: ankles (T, 2, 3) metres, their yaws and pitches (T, 2) radians, left first; the
    body's middle (T, 2) and yaw (T,) as the feet carry it."""

    ankles: np.ndarray
    yaws: np.ndarray
    pitches: np.ndarray
    middle: np.ndarray
    yaw: np.ndarray


def walk(plan: FootPlan, times: np.ndarray, toes: float) -> Ground:
    """The feet of a plan that begins at the origin facing +z, toes turned out by so many radians."""
    start = FootPlan(plan.stance)
    ankles, yaws = np.zeros((len(times), 2, 3)), np.zeros((len(times), 2))
    pitches, aloft = np.zeros_like(yaws), np.zeros_like(yaws)
    for side, foot in enumerate(SIDES):
        place, yaw = np.array(start.own(foot, start.centre, 0.0)), 0.0
        ankles[:, side, ::2] = place
        for swing in plan.swings:
            if swing.foot != foot:
                continue
            share = np.clip((times - swing.start) / (swing.end - swing.start), 0, 1)
            gone = minimum_jerk(share)
            ankles[:, side, ::2] += gone[:, None] * (np.array(swing.place) - place)
            yaws[:, side] += gone * (swing.yaw - yaw)
            arc = np.sin(np.pi * share) ** 2
            ankles[:, side, 1] += swing.lift * arc
            pitches[:, side] += 3.2 * swing.lift * np.sin(np.pi * np.minimum(share * 1.5, 1)) ** 2
            aloft[:, side] += arc
            place, yaw = np.array(swing.place), swing.yaw
    # The toes never go below the floor: where the heel lifts, the ankle rises with it.
    below = _ANKLE_TO_TOES[1] * np.cos(pitches) - _ANKLE_TO_TOES[2] * np.sin(pitches)
    ankles[..., 1] = np.maximum(ankles[..., 1] + ANKLE_HEIGHT, -below)
    soft = 0.11 * FPS
    yaw = gaussian_filter1d(yaws.mean(1), soft, mode="nearest")
    weight = aloft[:, 1] - aloft[:, 0]  # to the left foot while the right one swings
    aside = 0.22 * plan.stance * gaussian_filter1d(weight, soft, mode="nearest")
    middle = gaussian_filter1d(ankles[..., ::2].mean(1), soft, axis=0, mode="nearest")
    middle = middle + aside[:, None] * np.stack([np.cos(yaw), -np.sin(yaw)], -1)
    turned = yaws + np.array([toes, -toes])
    return Ground(ankles, turned, pitches, middle, yaw)


def highest_pelvis(ground: Ground, pelvis: np.ndarray, turn: Rotation) -> np.ndarray:
    """How high the pelvis (T, 3) may be so that both legs reach their ankles: (T,) metres."""
    highest = np.full(len(pelvis), np.inf)
    for side, foot in enumerate(SIDES):
        hip = turn.apply(_LEG[foot][0])
        away = np.linalg.norm((ground.ankles[:, side] - pelvis - hip)[:, ::2], axis=-1)
        reach = np.sqrt(np.maximum((_STRAIGHT * (_THIGH + _SHIN)) ** 2 - away**2, 0.01))
        highest = np.minimum(highest, ground.ankles[:, side, 1] + reach - hip[:, 1])
    return highest


def legs(ground: Ground, pelvis: np.ndarray, turn: Rotation) -> dict[str, Rotation]:
    """Rotations relative to the parent of hips, knees and ankles that put the feet where they are.

    Args:
        ground: the feet.
        pelvis: (T, 3) metres.
        turn: (T,) of the pelvis in the world.
    """
    found: dict[str, Rotation] = {}
    for side, foot in enumerate(SIDES):
        to_hip, to_knee, to_ankle = _LEG[foot]
        hip = pelvis + turn.apply(to_hip)
        line = ground.ankles[:, side] - hip
        reach = np.linalg.norm(line, axis=-1, keepdims=True)
        line /= reach
        reach = np.minimum(reach, 0.9999 * (_THIGH + _SHIN))
        yaw = ground.yaws[:, side]
        ahead = np.stack([np.sin(yaw), np.zeros_like(yaw), np.cos(yaw)], -1)
        bend = _unit(ahead - (ahead * line).sum(-1, keepdims=True) * line)
        along = (_THIGH**2 - _SHIN**2 + reach**2) / (2 * reach)
        knee = along * line + np.sqrt(np.maximum(_THIGH**2 - along**2, 0)) * bend
        hinge = np.cross(bend, line)
        thigh = _bone(knee, hinge, to_knee)
        shin = _bone(reach * line - knee, hinge, to_ankle)
        sole = Rotation.from_euler("YX", np.stack([yaw, ground.pitches[:, side]], -1))
        found[f"{foot}_hip"] = turn.inv() * thigh
        found[f"{foot}_knee"] = thigh.inv() * shin
        found[f"{foot}_ankle"] = shin.inv() * sole
    return found


def _bone(direction: np.ndarray, hinge: np.ndarray, rest: np.ndarray) -> Rotation:
    """The rotation in the world that lays a bone's rest vector along a direction (T, 3), its x axis along the hinge."""
    up = -_unit(direction)
    target = np.stack([hinge, up, np.cross(hinge, up)], -1)
    rest_up = -rest / np.linalg.norm(rest)
    ahead = np.array([0.0, 0.0, 1.0])
    ahead = ahead - (ahead @ rest_up) * rest_up
    ahead /= np.linalg.norm(ahead)
    frame = np.stack([np.cross(rest_up, ahead), rest_up, ahead], -1)
    return Rotation.from_matrix(target @ frame.T)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
