"""Arms: poses by where upper arm and forearm point, and paths through them in time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from preprocessing.synthetic_motion.curves import geodesic, minimum_jerk, smoothed

Vector = tuple[float, float, float]
SIDES: Final = ("left", "right")
_SMOOTHING: Final = 0.8


@dataclass(frozen=True)
class ArmPose:
    """Directions of a left arm in the chest's frame, (outward, up, forward), of any length; a right arm mirrors them.

    Attributes:
        upper: from shoulder to elbow.
        fore: from elbow to wrist; not quite along `upper`, since the plane of the elbow has to be told.
    """

    upper: Vector
    fore: Vector

    def moved(self, upper: np.ndarray, fore: np.ndarray) -> "ArmPose":
        """The pose with something added to both directions, each (3,) and relative to unit length."""
        first, second = (_unit(np.array(vector)) for vector in (self.upper, self.fore))
        return ArmPose(tuple(first + upper), tuple(second + fore))

    def solve(self, side: str) -> tuple[Rotation, float]:
        """The shoulder's rotation in the chest's frame and the elbow's bend in radians, for one side."""
        mirror = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
        upper, fore = _unit(np.array(self.upper)) * mirror, _unit(np.array(self.fore)) * mirror
        plane = _unit(fore - (fore @ upper) * upper)
        along = upper * mirror[0]  # at rest the left arm points to +x, the right one to -x
        matrix = np.stack([along, np.cross(plane, along), plane], -1)
        return Rotation.from_matrix(matrix), float(np.arccos(np.clip(upper @ fore, -1, 1)))


@dataclass
class Stroke:
    """A movement of an arm that begins and ends still: through poses in between, at the pace of a minimum jerk.

    Attributes:
        start, end: seconds.
        poses: those on the way and the last, where it stays; None as the last for the pose the arm has by itself.
    """

    start: float
    end: float
    poses: Sequence[ArmPose | None]


@dataclass
class ArmPath:
    """An arm by itself, at every frame, and the strokes that take it elsewhere.

    Attributes:
        side: "left" or "right".
        shoulder: (T,) rotations in the chest's frame.
        elbow: (T,) bend in radians.
        strokes: in order, not overlapping.
    """

    side: str
    shoulder: Rotation
    elbow: np.ndarray
    strokes: list[Stroke] = field(default_factory=list)

    def at(self, times: np.ndarray) -> tuple[Rotation, np.ndarray]:
        """The shoulder's rotations and the elbow's bend at (T,) seconds, strokes and all."""
        if not self.strokes:
            return self.shoulder, self.elbow
        quaternions, bends = self.shoulder.as_quat(), self.elbow.copy()
        nodes: list[ArmPose | None] = [None]
        for number, stroke in enumerate(self.strokes):
            # From the pose that the last stroke ended in, on to those of this one, held until the next begins.
            nodes = [nodes[-1], *stroke.poses]
            until = self.strokes[number + 1].start if number + 1 < len(self.strokes) else np.inf
            where = (times >= stroke.start) & (times < until)
            shares = minimum_jerk((times[where] - stroke.start) / max(stroke.end - stroke.start, 1e-6))
            if not where.any() or (nodes[-1] is None and len(nodes) == 2 and nodes[0] is None):
                continue
            shoulder, elbow = self._along(nodes, where, shares)
            quaternions[where], bends[where] = shoulder.as_quat(), elbow
        soft = smoothed(Rotation.from_quat(quaternions), _SMOOTHING)
        return soft, gaussian_filter1d(bends, _SMOOTHING, mode="nearest")

    def _along(
        self, nodes: Sequence[ArmPose | None], where: np.ndarray, shares: np.ndarray
    ) -> tuple[Rotation, np.ndarray]:
        """Rotations and bends at shares (T,) of a way through nodes, at a pace of the angle on it."""
        solved = [self._solve(node, where) for node in nodes]
        lengths = np.array(
            [
                0.05 + float(np.mean((a.inv() * b).magnitude())) + 0.4 * float(np.mean(np.abs(m - n)))
                for (a, m), (b, n) in pairwise(solved)
            ]
        )
        ends = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
        leg = np.clip(np.searchsorted(ends, shares, "right") - 1, 0, len(lengths) - 1)
        quaternions, bends = np.empty((len(shares), 4)), np.empty(len(shares))
        for number, ((a, m), (b, n)) in enumerate(pairwise(solved)):
            here = leg == number
            if here.any():
                part = (shares[here] - ends[number]) / (ends[number + 1] - ends[number])
                quaternions[here] = geodesic(a[here], b[here], part).as_quat()
                bends[here] = m[here] + part * (n - m)[here]
        return Rotation.from_quat(quaternions), bends

    def _solve(self, node: ArmPose | None, where: np.ndarray) -> tuple[Rotation, np.ndarray]:
        if node is None:
            return self.shoulder[where], self.elbow[where]
        rotation, bend = node.solve(self.side)
        count = int(where.sum())
        return Rotation.from_quat(np.tile(rotation.as_quat(), (count, 1))), np.full(count, bend)


def elbow_rotation(side: str, bend: np.ndarray) -> Rotation:
    """The elbow's rotation for bends (T,) in radians: the forearm comes forward, as palms face down at rest."""
    return Rotation.from_rotvec(np.outer(bend if side == "right" else -bend, [0.0, 1.0, 0.0]))


def hanging(abduction: float, elbow: float) -> ArmPose:
    """An arm at rest, standing off and bent by so many degrees."""
    out, bend = np.radians(abduction), np.radians(elbow)
    upper = (np.sin(out), -np.cos(out), 0.03)
    return ArmPose(upper, (0.3 * np.sin(out), -np.cos(bend), np.sin(bend)))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
