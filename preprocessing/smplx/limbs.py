"""How arms and legs start: bent in space as their two bones look shortened in the picture.

A bone of known length that looks shorter points towards the camera or away from it. For the two bones of a limb that
gives four poses; each turns the shoulder (or hip) and bends the hinge in one way only. The sequence over the clip that
suits the pose priors best, jumps included, is taken. Without it an arm that has to come round the body, or a seated
person's thigh, would stay caught at the wrong side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.human.rotations import matrix_to_axis_angle
from preprocessing.smplx.camera import Camera
from preprocessing.smplx.placement import Placement, cheapest, nearest


@dataclass(frozen=True)
class _Limb:
    """A limb of two bones.

    Args:
        points: key points of its root, hinge and end.
        joints: SMPL-X joints of the same.
        along: in the rest pose, the axis (x or y, with its sign) along which it points.
        bends: in the rest pose, whether the end moves along +z or -z when the hinge bends.
        axis: of the hinge, with the sign of a bend.
    """

    points: tuple[int, int, int]
    joints: tuple[int, int, int]
    along: tuple[int, int]
    bends: int
    axis: tuple[int, int]


LIMBS: Final = (
    _Limb((5, 6, 7), (16, 18, 20), (0, 1), 1, (1, -1)),  # left arm
    _Limb((2, 3, 4), (17, 19, 21), (0, -1), 1, (1, 1)),
    _Limb((11, 12, 13), (1, 4, 7), (1, -1), -1, (0, 1)),  # left leg
    _Limb((8, 9, 10), (2, 5, 8), (1, -1), -1, (0, 1)),
)
_SIGNS: Final = ((1, 1), (1, -1), (-1, 1), (-1, -1))
_STRAIGHT: Final = 0.35  # radians; of a hinge that bends less, the limb's twist cannot be told


def bend_limbs(
    joints: Tensor, camera: Camera, start: Placement, target: Tensor, weight: Tensor, mean: Tensor, deviation: Tensor
) -> Tensor:
    """Poses of the body joints in which arms and legs lie over their key points.

    Args:
        joints: (55, 3) of the body in the rest pose.
        camera: through which it is seen.
        start: where the body stands.
        target: (T, 134, 2) key points in fractions of the frame's width.
        weight: (T, 134) of each, 0 where missing.
        mean, deviation: (63,) of the pose prior.

    Returns:
        (T, 63) axis-angle; joints of other parts, and limbs that are never seen, are at the prior's mean.
    """
    pose = mean.expand(len(target), -1).unflatten(1, (21, 3)).clone()
    mean, deviation = mean.unflatten(0, (21, 3)), deviation.unflatten(0, (21, 3))
    metres = (-start.pelvis[:, 2] / camera.focal)[:, None, None]
    for limb in LIMBS:
        there = weight[:, list(limb.points)] > 0
        visible = start.visible & there[:, :2].all(1)
        if not visible.any():
            continue
        root, hinge = limb.joints[0] - 1, limb.joints[1] - 1
        lengths = (joints[list(limb.joints[1:])] - joints[list(limb.joints[:2])]).norm(dim=-1)
        across = target[visible][:, list(limb.points)].diff(dim=1)
        flat = across * metres[visible] * torch.tensor([1.0, -1.0])  # (S, 2, 2)
        # An end that is not seen hangs down from its hinge.
        hanging = torch.stack([torch.zeros(2), torch.stack([torch.zeros(()), -lengths[1]])])
        flat = torch.where((there[visible, 2:] | (torch.arange(2) == 0))[..., None], flat, hanging)
        rotations, bends = _ways(limb, flat, lengths, start.orient[visible])
        vectors = matrix_to_axis_angle(rotations)  # (4, S, 3)
        axis, sign = limb.axis
        cost = ((vectors - mean[root]) / deviation[root]).square().sum(-1)
        cost = cost + ((sign * bends - mean[hinge, axis]) / deviation[hinge, axis]).square()
        way, index = cheapest(rotations, cost), torch.arange(int(visible.sum()))
        back = nearest(visible)
        pose[:, root] = vectors[way, index][back]
        pose[:, hinge, axis] = sign * bends[way, index][back]
    return pose.flatten(1)


def _ways(limb: _Limb, flat: Tensor, lengths: Tensor, orient: Tensor) -> tuple[Tensor, Tensor]:
    """The four poses of a limb: rotation at its root (4, S, 3, 3) and bend of its hinge (4, S), radians from 0 on."""
    depth = (lengths.square() - flat.square().sum(-1)).clamp(min=0).sqrt()  # (S, 2)
    ways = torch.stack([torch.cat([flat, (depth * torch.tensor(sign))[..., None]], -1) for sign in _SIGNS])
    ways = normalize(ways @ orient, dim=-1)  # (4, S, 2, 3) in the trunk's axes: each row times R is R^T of it
    first, second = ways.unbind(2)
    bend = (first * second).sum(-1).clamp(-1, 1).acos()
    # The plane in which the hinge bends; a straight limb keeps the plane of the rest pose.
    rest = torch.tensor([0.0, 0.0, float(limb.bends)])
    share = (bend / _STRAIGHT).clamp(max=1)[..., None]
    aside = normalize(share * _across(second, first) + (1 - share) * _across(rest, first), dim=-1)
    axis, sign = limb.along
    along, ahead = sign * first, limb.bends * aside
    if axis == 0:
        return torch.stack([along, torch.linalg.cross(ahead, along), ahead], -1), bend
    return torch.stack([torch.linalg.cross(along, ahead), along, ahead], -1), bend


def _across(vector: Tensor, axis: Tensor) -> Tensor:
    """The direction of a vector across an axis."""
    return normalize(vector - (vector * axis).sum(-1, keepdim=True) * axis, dim=-1)
