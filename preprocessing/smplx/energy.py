"""What a fit costs: distance from the key points, distance from what bodies do, and jerks from frame to frame.

Every term is squared and divided by its standard deviation, so that terms compare as probabilities do. Variables are
in these units, too (0 is the prior's mean), which is what lets one optimiser step serve all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from models.human.body_model import BODY_JOINTS, JAW, JOINTS, LEFT_FINGERS, BodyModel
from models.human.keypoints import BODY, FACE, FEET, HANDS, NECK, POINTS
from models.human.keypoints import JAW as JAW_LINE
from models.human.rotations import axis_angle_to_matrix
from preprocessing.smplx import priors
from preprocessing.smplx.camera import Camera
from preprocessing.smplx.placement import Placement, pelvis_of
from preprocessing.smplx.solver import robust

SIGMA: Final = 0.01
"""Standard deviation of a body point, as a share of the body's height in the picture."""
_SHARES: Final = ((BODY, 1.0), (FEET, 0.5), (HANDS, 0.6), (FACE, 0.4))
_JAW_LINE_SHARE: Final = 0.02  # detectors slide it along the face when the head turns
_HIPS: Final = (8, 11)  # detectors put them elsewhere than the joints are
_TURN, _RAY, _LOG_DEPTH = 0.2, 0.02, 0.05  # units of the variables that have no prior
_BETA_SHARE: Final = 1.0  # of every frame, so that a long clip does not buy a strange shape
_EXPRESSION_SHARE: Final = 0.3
# Standard deviations of accelerations: metres, and radians or coefficients, per second squared.
_JOINTS: Final = 10.0
_BODY_TURNS: Final = 60.0
_FINGER_TURNS: Final = 120.0
_FACE_MOVES: Final = 100.0


@dataclass
class Variables:
    """What is optimised, leaf tensors in units of their standard deviations; all 0 at the start.

    Args:
        turn: (T, 3) rotation of the whole body before its starting one.
        place: (T, 3) of the pelvis, beside its start: slopes to the right and up, logarithm of the distance.
        betas: (K,) shape.
        body: (T, 63) body joints.
        hands: (T, 2, 45) left and right fingers.
        jaw: (T, 3).
        expression: (T, E).
    """

    turn: Tensor
    place: Tensor
    betas: Tensor
    body: Tensor
    hands: Tensor
    jaw: Tensor
    expression: Tensor

    @classmethod
    def zeros(cls, frames: int, betas: int, expressions: int) -> Variables:
        """All at the prior's mean."""
        return cls(
            torch.zeros(frames, 3), torch.zeros(frames, 3), torch.zeros(betas), torch.zeros(frames, 63),
            torch.zeros(frames, 2, 45), torch.zeros(frames, 3), torch.zeros(frames, expressions),
        )  # fmt: skip

    def free(self, names: tuple[str, ...]) -> list[Tensor]:
        """Let the named ones move, and nothing else."""
        for field in fields(self):
            getattr(self, field.name).requires_grad_(field.name in names)
        return [getattr(self, name) for name in names]


@dataclass(frozen=True)
class Pose:
    """Variables as a body has them.

    Args:
        orient: (T, 3, 3) rotation of the whole body.
        pelvis: (T, 3) metres.
        rotations: (T, 55, 3) axis-angle; the first comes after the start's rotation.
        betas: (K,).
        expression: (T, E).
    """

    orient: Tensor
    pelvis: Tensor
    rotations: Tensor
    betas: Tensor
    expression: Tensor


class Energy:
    """The cost of a pose sequence.

    Args:
        model: the body.
        camera: through which it is seen.
        start: where it stands at first.
        target: (T, 134, 2) key points in fractions of the frame's width.
        weight: (T, 134) confidence of each, 0 where missing.
        fps: frames a second.
    """

    def __init__(
        self, model: BodyModel, camera: Camera, start: Placement, target: Tensor, weight: Tensor, fps: float
    ) -> None:
        self.model, self.camera, self.start, self.fps = model, camera, start, fps
        self.target = target
        self.weight = weight * point_shares() * model.known
        depth = -start.pelvis[:, 2]
        self.origin = torch.stack([start.pelvis[:, 0] / depth, start.pelvis[:, 1] / depth, 0 * depth], -1)
        self.depth = depth
        self.size = camera.focal * model.height / depth  # (T,) of the body in the picture
        self.body_mean, self.body_deviation = priors.body_prior()
        self.hand_deviation = priors.hand_deviation()
        self.jaw_deviation = torch.tensor(priors.JAW)

    def pose(self, variables: Variables) -> Pose:
        """What the variables mean."""
        frames = len(variables.body)
        body = self.body_mean + self.body_deviation * variables.body
        hands = self.model.hand_means + self.hand_deviation * variables.hands
        zero = torch.zeros(frames, 3)
        rotations = torch.cat(
            [_TURN * variables.turn, body, self.jaw_deviation * variables.jaw, zero, zero, hands[:, 0], hands[:, 1]], 1
        ).unflatten(1, (JOINTS, 3))
        place = self.origin + variables.place * torch.tensor([_RAY, _RAY, _LOG_DEPTH])
        return Pose(
            axis_angle_to_matrix(rotations[:, 0]) @ self.start.orient,
            pelvis_of(place, self.depth),
            rotations,
            variables.betas,
            variables.expression,
        )

    def place(self, pose: Pose, detailed: bool = True) -> tuple[Tensor, Tensor]:
        """Joints (T, 55, 3) and key points (T, 134, 3) in metres; without details in a resting face's shape."""
        expression = pose.expression if detailed else None
        joints, points = self.model(
            pose.rotations, pose.betas, expression, base=self.start.orient, correctives=detailed
        )
        shift = (pose.pelvis - joints[:, 0])[:, None]
        return joints + shift, points + shift

    def __call__(self, variables: Variables, width: float, detailed: bool = True) -> Tensor:
        """The mean cost of a frame.

        Args:
            variables: the pose.
            width: error from which on a point counts as wrong, in units of `SIGMA`.
            detailed: with fingers, jaw and expression, which cost time.
        """
        pose = self.pose(variables)
        joints, points = self.place(pose, detailed)
        error = (self.camera.project(points) - self.target).square().sum(-1) / (SIGMA * self.size[:, None]) ** 2
        cost = (self.weight * robust(error, width)).sum(1)
        cost = cost + variables.body.square().sum(1) + _BETA_SHARE * variables.betas.square().sum()
        cost = cost + (pose.orient[:, ::2, 1] / priors.LEANING).square().sum(1)
        body = pose.rotations[:, BODY_JOINTS].flatten(1)
        hands = pose.rotations[:, LEFT_FINGERS.start :].unflatten(1, (2, 15))
        cost = cost + priors.limits(body, hands.flatten(2), pose.rotations[:, JAW]) + self._behind(joints, pose.orient)
        smooth = self._moves(joints[:, : BODY_JOINTS.stop], _JOINTS) + self._moves(body, _BODY_TURNS)
        if detailed:
            cost = cost + variables.hands.square().sum((1, 2)) + variables.jaw.square().sum(1)
            cost = cost + _EXPRESSION_SHARE * variables.expression.square().sum(1)
            smooth = smooth + self._moves(hands, _FINGER_TURNS)
            smooth = smooth + self._moves(pose.expression, _FACE_MOVES)
            smooth = smooth + self._moves(pose.rotations[:, JAW], _FACE_MOVES)
        return cost.mean() + smooth / len(cost)

    def _moves(self, values: Tensor, deviation: float) -> Tensor:
        """Squared accelerations along time, summed."""
        if len(values) < 3:
            return values.new_zeros(())
        acceleration = (values[2:] - 2 * values[1:-1] + values[:-2]) * self.fps**2
        return (acceleration / deviation).square().sum()

    def _behind(self, joints: Tensor, orient: Tensor) -> Tensor:
        """How far the wrists are behind the chest, squared."""
        ahead = ((joints[:, 20:22] - joints[:, 9:10]) * orient[:, None, :, 2]).sum(-1)
        return ((-priors.BEHIND - ahead).clamp(min=0) / priors.STIFFNESS).square().sum(1)


def point_shares() -> Tensor:
    """(134,) how much every key point counts: the many of face and hands see the same few joints."""
    shares = torch.zeros(POINTS)
    for part, share in _SHARES:
        shares[part] = share
    shares[JAW_LINE] = _JAW_LINE_SHARE
    shares[[NECK, *_HIPS]] = 0.5
    return shares
