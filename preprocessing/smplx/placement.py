"""Where a body stands and which way it faces, before any of its joints is bent: the fit's starting point.

A stiff body in the resting pose is laid over shoulders, hips, neck, nose, eyes and ears of every frame by itself, once
for each of some directions that it may face. The sequence of directions that costs least over the whole clip, turning
included, is taken, so that a person who turns round is followed and a single bad frame decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.human.rotations import axis_angle_to_matrix
from preprocessing.smplx.camera import Camera
from preprocessing.smplx.solver import minimise, robust

POINTS: Final = (0, 1, 2, 5, 8, 11, 14, 15, 16, 17)
"""Key points of the trunk and head."""
_SHARES: Final = (0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5)
_LEAST: Final = 3  # points in a frame
YAWS: Final = (0.0, pi / 2, pi, -pi / 2)
"""Directions that are tried, in radians about the vertical; 0 faces the camera."""
_TILT, _YAW, _LOG_DEPTH = 0.3, 0.6, 0.25  # standard deviations
_SIGMA: Final = 0.02  # of a point, as a share of the body's height: nothing is bent yet
_WIDE: Final = 5.0  # in units of _SIGMA: errors beyond it count less and less
_TURN: Final = 20.0  # cost of a radian's turn from one frame to the next
_ITERATIONS: Final = 40
UNSEEN: Final = 3.0
"""Metres from the camera of a body of which nothing is known."""


@dataclass(frozen=True)
class Placement:
    """The start of the fit.

    Args:
        orient: (T, 3, 3) rotation of the whole body.
        pelvis: (T, 3) metres.
        visible: (T,) bool, frames with enough points; the others have their neighbours' placement.
    """

    orient: Tensor
    pelvis: Tensor
    visible: Tensor


def place(rest: Tensor, height: float, camera: Camera, target: Tensor, weight: Tensor) -> Placement:
    """Find where a resting body stands in every frame.

    Args:
        rest: (134, 3) key points of the resting body, its pelvis at the origin; metres.
        height: of the body, metres.
        camera: through which it is seen.
        target: (T, 134, 2) key points in fractions of the frame's width.
        weight: (T, 134) of each, 0 where missing.
    """
    chosen = list(POINTS)
    rest, target = rest[chosen], target[:, chosen]
    weight = weight[:, chosen] * torch.tensor(_SHARES)
    visible = (weight > 0).sum(1) >= _LEAST
    frames = len(target)
    if not visible.any():
        pelvis = torch.tensor([0.0, 0.0, -UNSEEN]).expand(frames, 3)
        return Placement(torch.eye(3).expand(frames, 3, 3), pelvis, visible)
    depth = _depth(rest, camera, target[visible], weight[visible])
    orient, pelvis, cost = _try_all(rest, height, depth, camera, target[visible], weight[visible])
    chain = cheapest(orient, cost)
    index = torch.arange(int(visible.sum()))
    back = nearest(visible)
    return Placement(orient[chain, index][back], pelvis[chain, index][back], visible)


def _depth(rest: Tensor, camera: Camera, target: Tensor, weight: Tensor) -> float:
    """Metres to the body: by the spread of its points, which turning away only makes smaller."""
    share = (weight / weight.sum(1, keepdim=True))[..., None]

    def spread(points: Tensor) -> Tensor:
        return (share * (points - (share * points).sum(1, keepdim=True)).square()).sum((1, 2)).sqrt()

    flat = rest[:, :2].expand(len(target), -1, -1)
    ratio = camera.focal * spread(flat) / spread(target).clamp(min=1e-4)
    return float(ratio.quantile(0.3))


def _try_all(
    rest: Tensor, height: float, depth: float, camera: Camera, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Orientation (Y, T, 3, 3), pelvis (Y, T, 3) and cost (Y, T) from every direction."""
    frames, directions = len(target), len(YAWS)
    base = axis_angle_to_matrix(torch.tensor([(0.0, yaw, 0.0) for yaw in YAWS]))[:, None]  # (Y, 1, 3, 3)
    turn = torch.zeros(directions, frames, 3, requires_grad=True)
    middle = (weight[..., None] * target).sum(1) / weight.sum(1, keepdim=True)
    centre = (weight[..., None] * rest).sum(1) / weight.sum(1, keepdim=True)
    ray = (middle - torch.tensor([camera.across, camera.down])) / camera.focal * torch.tensor([1, -1])
    start = torch.cat([ray - centre[:, :2] / depth, torch.zeros(frames, 1)], 1)
    shift = torch.zeros(directions, frames, 3, requires_grad=True)
    size = camera.focal * height / depth
    spread = torch.tensor([_TILT, _YAW, _TILT])

    def state() -> tuple[Tensor, Tensor]:
        orient = axis_angle_to_matrix(turn * spread) @ base
        return orient, pelvis_of(start + shift * 0.1, depth)

    def costs() -> Tensor:
        orient, pelvis = state()
        xy = camera.project(rest @ orient.mT + pelvis[..., None, :])
        error = (xy - target).square().sum(-1) / (_SIGMA * size) ** 2
        prior = turn.square().sum(-1) + (0.1 * shift[..., 2] / _LOG_DEPTH).square()
        return (weight * robust(error, _WIDE)).sum(-1) + prior

    minimise(lambda: costs().sum() / frames, [turn, shift], _ITERATIONS)
    with torch.no_grad():
        orient, pelvis = state()
        return orient, pelvis, costs()


def pelvis_of(place: Tensor, depth: Tensor | float) -> Tensor:
    """Metres (..., 3) of a pelvis given by the slopes of its ray to the right and up, and the logarithm of its distance
    over `depth`: numbers that a picture tells apart better than metres."""
    far = depth * place[..., 2].exp()
    return torch.stack([place[..., 0] * far, place[..., 1] * far, -far], -1)


def cheapest(orient: Tensor, cost: Tensor) -> Tensor:
    """(T,) which of Y rotations (Y, T, 3, 3) each frame takes on the cheapest way through the clip (Viterbi).

    A way costs what its frames cost, (Y, T), and the turns from one to the next.
    """
    ways, back = cost[:, 0].numpy().astype(np.float64), []
    for frame in range(1, cost.shape[1]):
        before, now = orient[:, None, frame - 1], orient[None, :, frame]
        trace = (before * now).sum((-1, -2))
        angle = ((trace - 1) / 2).clamp(-1, 1).acos().numpy()
        through = ways[:, None] + _TURN * angle
        back.append(through.argmin(0))
        ways = through.min(0) + cost[:, frame].numpy()
    chain = [int(ways.argmin())]
    for choice in reversed(back):
        chain.append(int(choice[chain[-1]]))
    return torch.tensor(chain[::-1])


def nearest(visible: Tensor) -> Tensor:
    """(T,) for every frame the number, among the seen ones, of the nearest seen frame."""
    places = torch.nonzero(visible)[:, 0]
    return (torch.arange(len(visible))[:, None] - places).abs().argmin(1)
