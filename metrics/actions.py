"""Which action a body motion shows, read off its joints by rules: whether text that was asked for was done.

The rules know nothing of who made the motion. They are those of the synthetic set (`docs/synthetic_motion.md`), whose
truth they find again, and are meant for one action at a time: cut a sequence into its spans first.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from torch import Tensor

from models.human.body import JOINTS
from models.human.motion import FPS, SIZE, recover_joints

NAMES: Final = ("wave", "raise", "point", "step", "turn", "bow", "gesture", "stand")
"""What `recognise` may say: six actions; hands that move in front of the body as in speech; and none of these."""

SMOOTHING: Final = 1.2  # frames, of a Gaussian over the joints
_HIPS: Final = ("left_hip", "right_hip")
_AT: Final = {name: number for number, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Recognised:
    """What a motion shows, with the names and values that the synthetic set's truth has.

    Attributes:
        action: one of `NAMES`.
        side: "left", "right" or "both" for wave, raise, point; else None.
        direction: for raise, point, step, turn; else None.
        times: how often; 0 for gesture and stand.
        amount: "slight", "quarter" or "half" for turn, "slight" or "deep" for bow; else None.
    """

    action: str
    side: str | None = None
    direction: str | None = None
    times: int = 0
    amount: str | None = None

    def agrees(self, truth: dict[str, Any], *fields: str) -> bool:
        """Whether action and further fields are those of a truth (`extra.truth.actions[i]` of a clip)."""
        return self.action == truth["name"] and all(getattr(self, name) == truth[name] for name in fields)


def recognise(motion: Tensor | np.ndarray) -> Recognised:
    """The action of one motion (M, 263) at 20 fps, not normalised (VA-1).

    Raises:
        ValueError: another shape, no frame, or numbers that are not finite.
    """
    return recognise_joints(_joints(motion))


def recognise_joints(joints: np.ndarray) -> Recognised:
    """The action of joints (M, 22, 3) in metres at 20 fps, y up."""
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (len(JOINTS), 3) or not len(joints):
        raise ValueError(f"joints are (frames, {len(JOINTS)}, 3) with at least one frame, not {joints.shape}")
    if not np.isfinite(joints).all():
        raise ValueError("joints hold NaN or infinite numbers")
    body = _Body(gaussian_filter1d(joints, SMOOTHING, axis=0, mode="nearest"))
    # Arms first: nobody holds one up by accident, while every action moves trunk and feet a little.
    return _arms(body) or _bow(body) or _turn(body) or _step(body) or _gesture(body) or Recognised("stand")


class _Body:
    """Measures of a motion, seen from the person."""

    def __init__(self, joints: np.ndarray):
        self.joints = joints
        across = self.at("left_hip") - self.at("right_hip") + self.at("left_shoulder") - self.at("right_shoulder")
        self.yaw = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))

    def at(self, name: str) -> np.ndarray:
        """(M, 3) of a joint."""
        return self.joints[:, _AT[name]]

    def middle(self, *names: str) -> np.ndarray:
        """(M, 3) of the mean of some joints."""
        return self.joints[:, [_AT[name] for name in names]].mean(1)

    def own(self, vectors: np.ndarray, yaw: np.ndarray | float | None = None) -> np.ndarray:
        """World vectors (M, 3) as (left, up, forward) of the person; of a person with another yaw where given."""
        yaw = self.yaw if yaw is None else yaw
        sine, cosine = np.sin(yaw), np.cos(yaw)
        x, y, z = vectors.T
        return np.stack([x * cosine - z * sine, y, x * sine + z * cosine], -1)

    def ends(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means of the first and of the last quarter of a second."""
        count = max(1, FPS // 4)
        return values[:count].mean(0), values[-count:].mean(0)


class _Arm:
    """Measures of one arm.

    Attributes:
        reach: (M, 3) from shoulder to wrist as (outward, up, forward).
        elevation: (M,) of that line above the horizon, in degrees.
        stretch: (M,) its length as a share of upper arm and forearm.
        fore: (M,) elevation of the forearm in degrees.
        lean: (M,) degrees that the forearm leans outward of upright.
    """

    def __init__(self, body: _Body, side: str):
        outward = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
        shoulder, elbow, wrist = (body.at(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        self.reach = body.own(wrist - shoulder) * outward
        fore = body.own(wrist - elbow) * outward
        upper = np.linalg.norm(elbow - shoulder, axis=-1)
        length = np.linalg.norm(self.reach, axis=-1)
        self.stretch = length / np.maximum(upper + np.linalg.norm(fore, axis=-1), 1e-6)
        self.elevation = np.degrees(np.arcsin(np.clip(self.reach[:, 1] / np.maximum(length, 1e-6), -1, 1)))
        self.fore = np.degrees(np.arcsin(np.clip(fore[:, 1] / np.maximum(np.linalg.norm(fore, axis=-1), 1e-6), -1, 1)))
        self.lean = np.degrees(np.arctan2(fore[:, 0], np.maximum(fore[:, 1], 1e-6)))

    def swings(self) -> int:
        """How often the raised forearm leans outward and comes back, the elbow bent; an arm that goes up leans, too."""
        raised = [part for part in _runs(self.fore > 20.0) if self.stretch[part].min() < 0.92]
        return sum(len(find_peaks(self.lean[part], prominence=20.0)[0]) for part in raised)

    def raises(self) -> int:
        """How often the stretched arm goes up."""
        count, down = 0, True
        for elevation in self.elevation:
            if down and elevation > 50:
                count, down = count + 1, False
            elif elevation < 0:
                down = True
        return count

    def pointing(self) -> np.ndarray:
        """(M,) whether the arm is held out straight at the shoulder's height."""
        return (np.abs(self.elevation) < 35) & (self.stretch > 0.86)


def _arms(body: _Body) -> Recognised | None:
    arms = {side: _Arm(body, side) for side in ("left", "right")}
    swings = {side: arm.swings() for side, arm in arms.items()}
    raises = {side: arm.raises() for side, arm in arms.items()}
    if any(swings.values()):
        return Recognised("wave", _side(swings), times=max(swings.values()))
    if any(raises.values()):
        return Recognised("raise", _side(raises), "up", max(raises.values()))
    held = {side: arm.pointing() for side, arm in arms.items()}
    lengths = {side: max((part.stop - part.start for part in _runs(held[side])), default=0) for side in arms}
    side = max(lengths, key=lambda name: lengths[name])
    if lengths[side] < 0.3 * FPS:
        return None
    start = body.ends(body.yaw)[0]
    longest = max(_runs(held[side]), key=lambda part: part.stop - part.start)
    middle = slice(longest.start + lengths[side] // 4, longest.stop - lengths[side] // 4)
    line = body.own(body.at(f"{side}_wrist") - body.at(f"{side}_shoulder"), float(start))[middle].mean(0)
    azimuth = np.degrees(np.arctan2(line[0], line[2]))
    direction = "forward" if abs(azimuth) < 25 else "left" if azimuth > 0 else "right"
    return Recognised("point", side, direction, 1)


def _bow(body: _Body) -> Recognised | None:
    # Means of several joints: a single one may be off by centimetres.
    trunk = body.own(body.middle("neck", "left_collar", "right_collar", "head") - body.middle("pelvis", *_HIPS))
    lean = np.degrees(np.arctan2(trunk[:, 2], trunk[:, 1]))
    lean = lean - np.quantile(lean, 0.1)
    if lean.max() < 15:
        return None
    amount = "slight" if lean.max() < 40 else "deep"
    return Recognised("bow", times=max(1, _peaks(lean, 0.5)), amount=amount)


def _turn(body: _Body) -> Recognised | None:
    start, end = body.ends(body.yaw)
    turn = float(np.degrees(end - start))
    if abs(turn) < 25:
        return None
    amount = "slight" if abs(turn) < 67 else "quarter" if abs(turn) < 135 else "half"
    return Recognised("turn", None, "left" if turn > 0 else "right", 1, amount)


def _step(body: _Body) -> Recognised | None:
    yaw = float(body.ends(body.yaw)[0])
    # Both feet have gone somewhere else: to shift the weight, or to put one foot aside, is no step.
    ways = []
    for foot in ("left", "right"):
        start, end = body.ends(body.middle(f"{foot}_ankle", f"{foot}_foot"))
        ways.append(body.own((end - start)[None], yaw)[0])
    way = np.mean(ways, axis=0)
    if np.hypot(way[0], way[2]) < 0.15 or min(np.hypot(one[0], one[2]) for one in ways) < 0.1:
        return None
    sideways = abs(way[0]) > abs(way[2])
    if sideways:
        direction, along = ("left", 0) if way[0] > 0 else ("right", 0)
    else:
        direction, along = ("forward", 2) if way[2] > 0 else ("back", 2)
    return Recognised("step", None, direction, _steps(body, direction, along))


def _steps(body: _Body, direction: str, along: int) -> int:
    """How many steps: swings of the leading foot sideways, of both but the last one where the person walks."""
    counts, yaw = {}, float(body.ends(body.yaw)[0])
    for foot in ("left", "right"):
        place = body.own(body.middle(f"{foot}_ankle", f"{foot}_foot"), yaw)[:, along]
        counts[foot] = _peaks(np.abs(np.diff(gaussian_filter1d(place, 1.5, mode="nearest"), prepend=place[0])), 0.28)
    if along == 0:
        return max(1, counts[direction])
    return max(1, counts["left"] + counts["right"] - 1)


def _gesture(body: _Body) -> Recognised | None:
    for side in ("left", "right"):
        arm = _Arm(body, side)
        # The hand is in front of the trunk, not beside it.
        if (arm.reach[:, 2] > 0.2).mean() > 0.3 or arm.fore.max() > -15:
            return Recognised("gesture")
    return None


def _side(counts: dict[str, int]) -> str:
    done = [side for side, count in counts.items() if count]
    return "both" if len(done) == 2 else done[0]


def _runs(flags: np.ndarray) -> list[slice]:
    """The stretches of (M,) flags that are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _peaks(values: np.ndarray, share: float) -> int:
    """How many peaks of (M,) stand out by a share of the highest from what lies on both sides of them."""
    padded = np.pad(values, 1, constant_values=values.min())
    return len(find_peaks(padded, prominence=max(share * float(np.ptp(values)), 1e-9))[0])


def _joints(motion: Tensor | np.ndarray) -> np.ndarray:
    vectors = motion.detach().cpu().numpy() if isinstance(motion, Tensor) else np.asarray(motion)
    if vectors.ndim != 2 or vectors.shape[1] != SIZE or not len(vectors):
        raise ValueError(f"a motion is (frames, {SIZE}) with at least one frame, this one is {vectors.shape}")
    return np.asarray(recover_joints(vectors.astype(np.float64)))


def strokes(motion: Tensor | np.ndarray) -> np.ndarray:
    """Times in seconds at which a downward movement of the hands comes to a stop, as in beat gestures: (K,), ascending.

    Both hands count by how much they move. A movement counts from a third of the motion's fastest ones on.

    Args:
        motion: (M, 263) at 20 fps, not normalised.
    """
    joints = gaussian_filter1d(_joints(motion), 0.7, axis=0, mode="nearest")
    height = joints[:, [_AT["left_wrist"], _AT["right_wrist"]], 1] - joints[:, [_AT["spine3"]], 1]
    moved = height.std(0)
    down = -np.diff(height @ (moved / max(float(moved.sum()), 1e-9))) * FPS
    if len(down) < 3:
        return np.zeros(0)
    peaks = find_peaks(down, height=max(float(np.quantile(np.maximum(down, 0), 0.97)) / 3, 0.05), distance=3)[0]
    # The stop: where the speed has fallen to a quarter, between two frames.
    stops = []
    for peak in peaks:
        slow = np.flatnonzero(down[peak:] < 0.25 * down[peak])
        if len(slow):
            after = peak + int(slow[0])
            share = (down[after - 1] - 0.25 * down[peak]) / max(down[after - 1] - down[after], 1e-9)
            stops.append((after - 0.5 + share) / FPS)
    return np.array(stops)
