"""Fitting the head template to face points: pose, expression and identity by least squares (CA-1)."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.chatanyone.head import EXPRESSIONS, HeadTemplate
from models.human.rotations import axis_angle_to_matrix, matrix_to_axis_angle

FEWEST: Final = 40
"""Face points that have to be seen in a frame."""
AWAY: Final = 60.0
"""Degrees by which a head may be turned from the camera."""
_ROUNDS: Final = 2  # in which identity, and pose with expression, take turns
_STEPS: Final = 3  # of Gauss and Newton in each
_PRIOR: Final = 1.0  # how much the coefficients' usual spread counts beside the points


class HeadFit(NamedTuple):
    """What a clip's face points say.

    Attributes:
        expression: (T, E) coefficients.
        pose: (T, 6) rotation and translation.
        identity: (I,) of the whole clip.
        error: (T,) mean distance of the points from those of the template, heights of the frame; -1 where no face is
            seen from the front: expression and pose are then those between the frames around.
    """

    expression: Tensor
    pose: Tensor
    identity: Tensor
    error: Tensor


class NoHead(ValueError):
    """A clip in which no head can be fitted; says why."""


def fit_head(template: HeadTemplate, points: Tensor, seen: Tensor) -> HeadFit:
    """Fit a clip.

    Minimises the squared distance of the points over `template.noise`^2 plus the squares of the coefficients, by
    Gauss and Newton's method over pose and expression of each frame, in turn with the identity of the clip.

    Args:
        template: that is fitted.
        points: (T, 68, 2) face points, heights of the frame.
        seen: (T, 68) bool, which of them were found.

    Raises:
        NoHead: no frame shows a face, or all turned away; or points that are not finite.
    """
    there = seen.sum(1) >= FEWEST
    if not there.any():
        raise NoHead(f"no head: no frame shows {FEWEST} of the 68 face points")
    found = torch.where(seen[..., None], points, 0.0)[there].double()
    if not found.isfinite().all():
        raise NoHead("the face points are not finite (NaN or infinity)")
    weights = seen[there].double()
    model = _Shape(template)
    expression = found.new_zeros(len(found), EXPRESSIONS)
    identity = found.new_zeros(len(template.identities))
    rotation, scale, place = start_pose(model.mean, found, weights)
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            rotation, scale, place, expression = _step(
                model, identity, rotation, scale, place, expression, found, weights
            )
        identity = _identity(model, rotation, scale, place, expression, found, weights)
    for _ in range(_STEPS):
        rotation, scale, place, expression = _step(model, identity, rotation, scale, place, expression, found, weights)
    placed = _project(model.shape(expression, identity), rotation, scale, place)
    distance = ((placed - found).norm(dim=-1) * weights).sum(1) / weights.sum(1)
    turned = torch.rad2deg(torch.acos(rotation[:, 2, 2].clamp(-1, 1)))
    depth = template.distance / scale - template.distance
    pose = torch.cat([matrix_to_axis_angle(rotation), place, depth[:, None]], 1)
    good = (turned <= AWAY) & pose.isfinite().all(1) & expression.isfinite().all(1)
    if not good.any():
        raise NoHead(f"no head: it is turned away by more than {AWAY:g} degrees in all frames")
    rows = there.nonzero()[:, 0][good]
    error = torch.full((len(points),), -1.0, dtype=torch.float64)
    error[rows] = distance[good]
    return HeadFit(
        _between(expression[good], rows, len(points)).float(),
        _between(pose[good], rows, len(points)).float(),
        identity.float(),
        error.float(),
    )


def start_pose(shape: Tensor, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, scale and place of a rigid shape (N, 3) seen as points (T, N, 2).

    The affine map nearest to it, then the scaled rotation nearest to that.

    Returns:
        (T, 3, 3), (T,) and (T, 2).
    """
    total = weights.sum(1)[:, None]
    middle = (weights[..., None] * points).sum(1) / total
    centre = (weights @ shape) / total  # (T, 3)
    x = (shape - centre[:, None]) * weights[..., None]
    gram = x.mT @ (shape - centre[:, None]) + 1e-9 * torch.eye(3, dtype=shape.dtype)
    affine = torch.linalg.solve(gram, x.mT @ (points - middle[:, None])).mT  # (T, 2, 3)
    u, sizes, v = torch.linalg.svd(affine, full_matrices=False)
    two = u @ v
    rotation = torch.cat([two, torch.linalg.cross(two[:, :1], two[:, 1:])], 1)
    scale = sizes.mean(1).clamp(min=1e-6)
    place = middle - scale[:, None] * (two @ centre[..., None])[..., 0]
    return rotation, scale, place


class _Shape:
    """The template in double precision."""

    def __init__(self, template: HeadTemplate):
        self.mean, self.expressions, self.identities = (
            value.detach().cpu().double() for value in (template.mean, template.expressions, template.identities)
        )
        self.noise = float(template.noise)

    def shape(self, expression: Tensor, identity: Tensor) -> Tensor:
        """(T, 68, 3) of coefficients (T, E) and (I,)."""
        person = self.mean + torch.einsum("i,ikd->kd", identity, self.identities)
        return person + torch.einsum("te,ekd->tkd", expression, self.expressions)


def _project(shape: Tensor, rotation: Tensor, scale: Tensor, place: Tensor) -> Tensor:
    return scale[:, None, None] * (shape @ rotation.mT)[..., :2] + place[:, None]


def _step(
    model: _Shape,
    identity: Tensor,
    rotation: Tensor,
    scale: Tensor,
    place: Tensor,
    expression: Tensor,
    points: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of Gauss and Newton: a turn, a change of size, a shift and the expression of each frame."""
    frames, count = points.shape[:2]
    turned = model.shape(expression, identity) @ rotation.mT  # (T, N, 3)
    size = scale[:, None]
    x, y, z = turned.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    columns = [
        torch.stack([zero, -size * z], -1),
        torch.stack([size * z, zero], -1),
        torch.stack([-size * y, size * x], -1),
        size[..., None] * turned[..., :2],
        torch.stack([one, zero], -1),
        torch.stack([zero, one], -1),
    ]
    moves = torch.einsum("tij,ekj->tkie", rotation[:, :2], model.expressions) * scale[:, None, None, None]
    jacobian = torch.cat([torch.stack(columns, -1), moves], -1).reshape(frames, 2 * count, -1)
    residual = points - (size[..., None] * turned[..., :2] + place[:, None])
    strength = (weights / model.noise**2)[..., None].expand(-1, -1, 2).reshape(frames, -1, 1)
    left = jacobian.mT @ (strength * jacobian)
    right = (jacobian.mT @ (strength * residual.reshape(frames, -1, 1)))[..., 0]
    prior = torch.cat([left.new_full((6,), 1e-6), left.new_full((EXPRESSIONS,), _PRIOR)])
    right[:, 6:] -= _PRIOR * expression
    step = torch.linalg.solve(left + torch.diag(prior), right)
    turn = step[:, :3]
    turn = turn * (0.5 / turn.norm(dim=1, keepdim=True).clamp(min=0.5))  # half a radian at most
    return (
        axis_angle_to_matrix(turn) @ rotation,
        scale * step[:, 3].clamp(-0.5, 0.5).exp(),
        place + step[:, 4:6],
        expression + step[:, 6:],
    )


def _identity(
    model: _Shape,
    rotation: Tensor,
    scale: Tensor,
    place: Tensor,
    expression: Tensor,
    points: Tensor,
    weights: Tensor,
) -> Tensor:
    """The clip's identity, all frames together."""
    rest = model.shape(expression, torch.zeros(len(model.identities), dtype=torch.float64))
    residual = points - _project(rest, rotation, scale, place)
    moves = torch.einsum("tij,ekj->tkie", rotation[:, :2], model.identities) * scale[:, None, None, None]
    strength = (weights / model.noise**2)[..., None, None]
    left = torch.einsum("tkie,tkif->ef", moves * strength, moves)
    right = torch.einsum("tkie,tki->e", moves * strength, residual)
    # What one frame says a prior may weigh against; frames of one clip do not tell independently.
    return torch.linalg.solve(left / len(points) + torch.eye(len(left), dtype=torch.float64), right / len(points))


def _between(values: Tensor, rows: Tensor, frames: int) -> Tensor:
    """Values (n, C) of some frames, for all of them: linearly between, the nearest beyond the ends."""
    at = torch.arange(frames)
    after = torch.searchsorted(rows, at).clamp(max=len(rows) - 1)
    before = (torch.searchsorted(rows, at, right=True) - 1).clamp(min=0)
    gap = (rows[after] - rows[before]).clamp(min=1)
    share = ((at - rows[before]).clamp(min=0) / gap).clamp(max=1)[:, None].to(values)
    return values[before] * (1 - share) + values[after] * share
