"""Joints that hang on one another, with the gradient written down.

A chain of 55 joints costs autograd some thousand steps over tiny matrices. Its gradient is that of statics: forces at
the joints below, and their torque about each joint, which two products with a constant matrix gather.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.human.rotations import axis_angle_to_matrix


class KinematicChain(nn.Module):
    """Where joints are, and how they are turned.

    Args:
        parents: of each joint; the first is the root, and every parent comes before its children.
    """

    parents: Tensor
    below: Tensor
    fork: Tensor

    def __init__(self, parents: list[int]) -> None:
        super().__init__()
        below = torch.eye(len(parents))
        for joint in range(len(parents) - 1, 0, -1):
            below[parents[joint]] += below[joint]
        fork = torch.eye(len(parents))
        fork[0, 0] = 0  # the root stands where it stands
        for joint in range(1, len(parents)):
            fork[parents[joint], joint] = -1
        self.register_buffer("parents", torch.tensor([0, *parents[1:]]))
        self.generations = _generations(self.parents)
        self.register_buffer("below", below)  # (J, J): 1 where the second hangs below the first, or is it
        self.register_buffer("fork", fork)  # (J, J): from gradients of bones to gradients of joints at rest

    def forward(self, pose: Tensor, rest: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """Pose the joints; the root's own place does not move.

        Args:
            pose: (T, J, 3) axis-angle relative to the parent; the root's comes after `base`.
            rest: (T, J, 3) places with nothing turned.
            base: (T, 3, 3) rotation of the whole before `pose`; gets no gradient.

        Returns:
            rotations in the world (T, J, 3, 3) and places (T, J, 3).
        """
        return _Chain.apply(pose, rest, base, self)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pose: Tensor, rest: Tensor, base: Tensor, chain: KinematicChain) -> tuple[Tensor, Tensor]:
        local = axis_angle_to_matrix(pose)
        bones = rest - rest.index_select(1, chain.parents)
        turned, places = torch.empty_like(local), torch.empty_like(rest)
        turned[:, 0], places[:, 0] = local[:, 0] @ base, rest[:, 0]
        for members, parents in chain.generations:
            around = turned.index_select(1, parents)
            places.index_copy_(
                1, members, places.index_select(1, parents) + _turn(around, bones.index_select(1, members))
            )
            turned.index_copy_(1, members, around @ local.index_select(1, members))
        ctx.save_for_backward(pose, turned, places)
        ctx.chain = chain
        return turned, places

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pose, turned, places = ctx.saved_tensors
        chain: KinematicChain = ctx.chain
        by_turn, force = gradients
        # <dE/dR, [w] R> = w . twist
        product = by_turn @ turned.mT
        twist = torch.stack(
            [
                product[..., 2, 1] - product[..., 1, 2],
                product[..., 0, 2] - product[..., 2, 0],
                product[..., 1, 0] - product[..., 0, 1],
            ],
            -1,
        )
        pull = chain.below @ force
        torque = chain.below @ (twist + torch.linalg.cross(places, force)) - torch.linalg.cross(places, pull)
        # Into the parents' axes; those of the root are the world's.
        above = turned.index_select(1, chain.parents)
        above[:, 0] = torch.eye(3, dtype=above.dtype, device=above.device)
        of_pose = _through_exponential(pose, _turn(above.mT, torque))
        of_rest = None
        if ctx.needs_input_grad[1]:
            of_rest = chain.fork @ _turn(above.mT, pull)
            of_rest[:, 0] += pull[:, 0]
        return of_pose, of_rest, None, None


def _through_exponential(vector: Tensor, torque: Tensor) -> Tensor:
    """Gradient by an axis-angle vector from that by a small turn in the world, (..., 3): J^T g, J the left Jacobian."""
    square = (vector * vector).sum(-1, keepdim=True)
    small = square < 1e-4
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - square / 120, (angle - angle.sin()) / (safe * angle))
    once = torch.linalg.cross(vector, torque)
    return torque - first * once + second * torch.linalg.cross(vector, once)


def _turn(rotation: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector; as a product of many small matrices it would take twice as long."""
    return (rotation * vector[..., None, :]).sum(-1)


def _generations(parents: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Joints and their parents, by distance from the root."""
    found, before = [], torch.tensor([0])
    while len(members := 1 + torch.nonzero(torch.isin(parents[1:], before))[:, 0]):
        found.append((members, parents[members]))
        before = members
    return found
