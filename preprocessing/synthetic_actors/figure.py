"""An actor brought to outlines for drawing and to the 134 key points, both from the same points in space."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.human import keypoints as layout
from models.human.body import JOINTS, global_rotations
from models.human.projection import project_joints
from preprocessing.synthetic import head
from preprocessing.synthetic.figure import hair_shapes, hand_shape
from preprocessing.synthetic.motion import Motion
from preprocessing.synthetic.speakers import Speaker
from preprocessing.synthetic_actors.expressions import express

Scale = Literal["head", "half", "whole"]
METRES: Final = 0.1
"""Of a head unit."""
HAND: Final = 0.175  # metres from the wrist to the tip of the middle finger
_EARS: Final = np.array([0.0, 0.14, -0.15])  # what of a head, in its units, is at its joint
_RAISED: Final = 0.03  # metres that it is above it: chins then are above the shoulders
_HEIGHT: Final = {"head": 0.3, "half": 1.2, "whole": 2.1}
"""Metres that a picture is high."""
_MIDDLE: Final = {"head": 1.545, "half": 1.25, "whole": 0.95}
"""Metres above the floor of its middle."""
_FACE: Final = ("jaw", "brows", "nose", "eyes", "outer_lips", "inner_lips")
_ARMS: Final = (("right", layout.RIGHT_HAND, 1.0), ("left", layout.LEFT_HAND, -1.0))


@dataclass(frozen=True)
class Camera:
    """A far camera straight ahead.

    Attributes:
        x: metres aside of the picture's middle.
        y: metres above the floor of it.
        height: metres that the picture is high and wide.
    """

    x: float
    y: float
    height: float

    @classmethod
    def of(cls, scale: Scale, generator: np.random.Generator) -> "Camera":
        """One that sees so much of a person, a little elsewhere in each clip."""
        near = _HEIGHT[scale]
        aside, up = generator.uniform(-0.02, 0.02, 2) * near
        return cls(float(aside), float(_MIDDLE[scale] + up), float(near * generator.uniform(0.98, 1.03)))

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2 or 3) in metres, y up, to fractions of the picture (..., 2), y down."""
        return np.stack(
            [0.5 + (points[..., 0] - self.x) / self.height, 0.5 - (points[..., 1] - self.y) / self.height], -1
        )


@dataclass(frozen=True)
class Actor:
    """A person over T frames, everything in fractions of the frame.

    Attributes:
        speaker: whose looks are drawn.
        blink: (T,) 0 open to 1 shut.
        metre: what a metre is in the picture.
        joints: (T, 22, 2) of the body.
        depth: (T, 22) metres that they are in front of the origin.
        outlines: (T, n, 2) by name: parts of the head, `right_hand`, `left_hand`.
        keypoints: (T, 134, 2) float32; all of them are known, also outside of the picture.
        scores: (T, 134) float32: 1 in the picture, 0.2 outside.
    """

    speaker: Speaker
    blink: np.ndarray
    metre: float
    joints: np.ndarray
    depth: np.ndarray
    outlines: dict[str, np.ndarray]
    keypoints: np.ndarray
    scores: np.ndarray

    @property
    def frames(self) -> int:
        """Their number, T."""
        return len(self.blink)


def actor(
    speaker: Speaker,
    camera: Camera,
    joints: np.ndarray,
    rotations: np.ndarray,
    motion: Motion,
    expression: str = "neutral",
    strength: float = 1.0,
) -> Actor:
    """Place every part of a person for every frame.

    Args:
        speaker: whose looks.
        camera: that sees them.
        joints: (T, 22, 3) metres, as `preprocessing.synthetic_motion.figure.animate` makes them.
        rotations: (T, 22, 3, 3) relative to the parent.
        motion: of the face (T frames): mouth, lids, gaze, brows, small movements of the head; and of the fingers.
        expression: a label.
        strength: of it, 0 to 1.
    """
    look = speaker.look
    shapes = express(head.face(motion, look), expression, strength, motion.blink)
    for name, points in hair_shapes(speaker, motion).items():
        shapes[name] = np.broadcast_to(points, (motion.frames, *points.shape[-2:]))
    turn = _head_turn(rotations, motion)
    at = joints[:, JOINTS.index("head")] + [0.0, _RAISED, 0.0]
    outlines = {name: camera.seen(_placed(points, turn, at, look.head)) for name, points in shapes.items()}
    for number, (side, _, inward) in enumerate(_ARMS):
        outlines[f"{side}_hand"] = camera.seen(_hand(joints, side, inward, motion, number, look.hand))
    seen = camera.seen(joints)
    keypoints, scores = _keypoints(joints, camera, outlines, seen)
    return Actor(speaker, motion.blink, 1 / camera.height, seen, joints[..., 2], outlines, keypoints, scores)


def _head_turn(rotations: np.ndarray, motion: Motion) -> np.ndarray:
    """(T, 3, 3) of the head in space: as the body holds it, with half of what a talking head does beside that."""
    world = np.asarray(global_rotations(rotations))[:, JOINTS.index("head")]
    yaw, pitch, roll = (0.5 * motion.head[:, axis] for axis in range(3))
    own = Rotation.from_euler("YXZ", np.stack([yaw, pitch, -roll], -1), degrees=True).as_matrix()
    return world @ own


def _placed(points: np.ndarray, turn: np.ndarray, at: np.ndarray, size: float) -> np.ndarray:
    """Head points (T, n, 3), y down, to metres (T, n, 3), y up."""
    local = METRES * size * (points - _EARS) * [1.0, -1.0, 1.0]
    return at[:, None] + np.einsum("tij,tnj->tni", turn, local)


def _hand(joints: np.ndarray, side: str, inward: float, motion: Motion, number: int, size: float) -> np.ndarray:
    """(T, 21, 2) metres: a hand that goes on from its forearm, flat in the picture, palm or back to the viewer."""
    wrist = joints[:, JOINTS.index(f"{side}_wrist"), :2]
    along = wrist - joints[:, JOINTS.index(f"{side}_elbow"), :2]
    shown = np.linalg.norm(along, axis=-1, keepdims=True)
    # A forearm that points at the viewer has no direction in the picture: such a hand points up.
    along = along + [0.0, 0.06]
    along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    shape = hand_shape(motion.curl[:, number], motion.spread[:, number])
    across = np.stack([along[:, 1], -along[:, 0]], -1)
    length = HAND * size * (0.6 + 0.4 * np.minimum(shown / 0.22, 1))
    turned = shape[..., 1:] * along[:, None] + inward * shape[..., :1] * across[:, None]
    return wrist[:, None] + length[:, None] * turned


def _keypoints(
    joints: np.ndarray, camera: Camera, outlines: dict[str, np.ndarray], seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    body, _ = project_joints(torch.from_numpy(np.asarray(joints, np.float32)))
    points = camera.seen(body.numpy().astype(np.float64) * [1.0, -1.0])
    shoulders = seen[:, [JOINTS.index("right_shoulder"), JOINTS.index("left_shoulder")]]
    points[:, layout.NECK] = shoulders.mean(1)
    eyes, ears = outlines["eyes"], outlines["ears"]
    points[:, layout.NOSE] = outlines["nose"][:, 3]
    points[:, 14], points[:, 15] = eyes[:, :6].mean(1), eyes[:, 6:].mean(1)
    points[:, 16], points[:, 17] = ears[:, :8].mean(1), ears[:, 8:].mean(1)
    points[:, layout.FACE] = np.concatenate([outlines[name] for name in _FACE], 1)
    for side, hand, _ in _ARMS:
        points[:, hand] = outlines[f"{side}_hand"]
    inside = ((points >= 0) & (points <= 1)).all(-1)
    # What leaves the picture keeps its place, as the schema says, but no detector would be sure of it.
    return points.astype(np.float32), np.where(inside, 1.0, 0.2).astype(np.float32)
