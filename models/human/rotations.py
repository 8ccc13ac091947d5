"""Rotations of joints: matrices, axis-angle vectors, and the six numbers that networks learn (VA-2).

Every function takes tensors of float32 or float64 of any device, or numpy arrays (and then gives numpy arrays back).
Half precision is too coarse for geometry: such tensors become float32, and autocasting is off inside. All functions are
differentiable; no gradient is NaN, also at a rotation of zero.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, cast, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize


class TensorOrArray(Protocol):
    """A function of tensors that gives numpy arrays back when it is called with one."""

    @overload
    def __call__(self, first: Tensor, *rest: Any, **options: Any) -> Tensor: ...
    @overload
    def __call__(self, first: np.ndarray, *rest: Any, **options: Any) -> np.ndarray: ...


def arrays_too(function: Callable[..., Tensor]) -> TensorOrArray:
    """Let a function of tensors also take numpy arrays (integers become float64), and work at full precision."""

    @wraps(function)
    def wrapped(first: Any, *rest: Any, **options: Any) -> Any:
        values = [_tensor(value) for value in (first, *rest)]
        options = {name: _tensor(value) for name, value in options.items()}
        device = values[0].device.type
        if device in ("cpu", "cuda") and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                result = function(*values, **options)
        else:
            result = function(*values, **options)
        return result.numpy() if isinstance(first, np.ndarray) else result

    return cast(TensorOrArray, wrapped)


def _tensor(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if not isinstance(value, np.ndarray):
        return value
    return torch.from_numpy(np.ascontiguousarray(value if value.dtype.kind == "f" else value.astype(np.float64)))


@arrays_too
def matrix_to_6d(matrix: Tensor) -> Tensor:
    """The first two columns of a rotation, (..., 3, 3) -> (..., 6): first column, then second (VA-2)."""
    return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1)


@arrays_too
def matrix_from_6d(columns: Tensor) -> Tensor:
    """The rotation nearest to two columns by Gram-Schmidt, (..., 6) -> (..., 3, 3) (VA-2).

    The first column keeps its direction, the second gives up what it shares with the first, the third is their cross
    product. The columns need no unit length; they must be neither zero nor parallel.
    """
    first = normalize(columns[..., :3], dim=-1)
    third = normalize(torch.linalg.cross(first, columns[..., 3:]), dim=-1)
    return torch.stack([first, torch.linalg.cross(third, first), third], dim=-1)


@arrays_too
def axis_angle_to_matrix(vector: Tensor) -> Tensor:
    """Rotation about a vector by its length in radians, (..., 3) -> (..., 3, 3), by Rodrigues' formula."""
    square = (vector * vector).sum(-1, keepdim=True)[..., None]
    small = square < 1e-4
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    first = torch.where(small, 1 - square / 6 + square**2 / 120, angle.sin() / angle)
    second = torch.where(small, 0.5 - square / 24 + square**2 / 720, 0.5 * ((angle / 2).sin() / (angle / 2)) ** 2)
    cross = cross_matrix(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * (cross @ cross)


@arrays_too
def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis times angle in [0, pi] radians, (..., 3, 3) -> (..., 3); through the quaternion, so safe at 0 and at pi."""
    quaternion = matrix_to_quaternion(matrix)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    sign = torch.where(real < 0, -torch.ones_like(real), torch.ones_like(real))
    real, imaginary = real * sign, imaginary * sign
    square = (imaginary * imaginary).sum(-1, keepdim=True)
    small = square < 1e-6
    length = torch.where(small, torch.ones_like(square), square).sqrt()
    ratio = square / torch.where(small, real, torch.ones_like(real)) ** 2
    series = 2 / torch.where(small, real, torch.ones_like(real)) * (1 - ratio / 3 + ratio**2 / 5)
    return imaginary * torch.where(small, series, 2 * torch.atan2(length, real) / length)


@arrays_too
def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternion of either sign, real part first, (..., 3, 3) -> (..., 4), by the largest of Shepperd's roots."""
    ((a, b, c), (d, e, f), (g, h, i)) = (row.unbind(-1) for row in matrix.unbind(-2))
    squares = torch.stack([1 + a + e + i, 1 + a - e - i, 1 - a + e - i, 1 - a - e + i], dim=-1)
    rows = torch.stack(
        [
            torch.stack([squares[..., 0], h - f, c - g, d - b], dim=-1),
            torch.stack([h - f, squares[..., 1], d + b, c + g], dim=-1),
            torch.stack([c - g, d + b, squares[..., 2], f + h], dim=-1),
            torch.stack([d - b, g + c, h + f, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(-1, keepdim=True)
    row = rows.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
    return normalize(row, dim=-1)


@arrays_too
def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """(..., 4), real part first and of any length but 0 -> (..., 3, 3)."""
    quaternion = normalize(quaternion, dim=-1)
    real, vector = quaternion[..., :1, None], quaternion[..., 1:]
    cross = cross_matrix(vector)
    eye = torch.eye(3, dtype=quaternion.dtype, device=quaternion.device)
    return eye + 2 * real * cross + 2 * cross @ cross


@arrays_too
def cross_matrix(vector: Tensor) -> Tensor:
    """The matrix of v x, (..., 3) -> (..., 3, 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


@arrays_too
def slerp(first: Tensor, second: Tensor, share: Tensor | float) -> Tensor:
    """From one rotation to another on the shortest way, at constant speed.

    Args:
        first, second: (..., 3, 3).
        share: how far, 0 is `first` and 1 is `second`; a number, or (...) that spreads over the rotations. May leave
            [0, 1]: then the turn goes on.
    """
    turn = matrix_to_axis_angle(first.mT @ second)
    part = share[..., None] if isinstance(share, Tensor) else share
    return first @ axis_angle_to_matrix(turn * part)


@arrays_too
def interpolate(rotations: Tensor, at: Tensor, dim: int = 0) -> Tensor:
    """Rotations between frames, by slerp along time.

    Args:
        rotations: matrices (..., 3, 3) with time on `dim`, T long.
        at: (N,) places in frames, 0 is the first and T - 1 the last. Beyond either end the outermost turn goes on.
        dim: the axis of time.

    Returns:
        As `rotations`, with N instead of T on `dim`.
    """
    rotations = rotations.movedim(dim, 0)
    if len(rotations) == 1:
        return rotations.expand(len(at), *rotations.shape[1:]).movedim(0, dim)
    at = at.to(rotations)
    before = at.floor().clamp(0, len(rotations) - 2)
    share = (at - before).view(-1, *[1] * (rotations.ndim - 3))
    index = before.long()
    return slerp(rotations[index], rotations[index + 1], share).movedim(0, dim)


@arrays_too
def rotation_between(first: Tensor, second: Tensor) -> Tensor:
    """The smallest rotation that turns one direction into another, (..., 3) and (..., 3) -> (..., 3, 3).

    Between opposite directions it is half a turn about some axis across them. Lengths do not matter, but none may be 0.
    """
    first, second = normalize(first, dim=-1), normalize(second, dim=-1)
    cosine = (first * second).sum(-1, keepdim=True)[..., None]
    opposite = cosine < -1 + 1e-6
    cross = cross_matrix(torch.linalg.cross(first, second))
    eye = torch.eye(3, dtype=first.dtype, device=first.device)
    turned = eye + cross + cross @ cross / torch.where(opposite, torch.ones_like(cosine), 1 + cosine)
    least = torch.nn.functional.one_hot(first.detach().abs().argmin(-1), 3).to(first)
    axis = normalize(torch.linalg.cross(first, least), dim=-1)
    half = 2 * axis[..., None] * axis[..., None, :] - eye
    return torch.where(opposite, half, turned)


@arrays_too
def best_rotation(first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """The rotation that brings one set of vectors nearest to another (Kabsch), (..., N, 3) twice -> (..., 3, 3).

    Found by a singular value decomposition; its gradient is that of the optimum itself (implicit function theorem),
    which stays finite where the gradient of the decomposition does not.

    Args:
        first, second: vectors, `second` = R `first`.
        weights: (N,) of the squared errors; all alike without.
    """
    if weights is not None:
        first = first * weights[:, None].to(first)
    product = second.mT @ first
    with torch.no_grad():
        left, _, right = torch.linalg.svd(product)
        handed = torch.linalg.det(left) * torch.linalg.det(right)
        signs = torch.stack([torch.ones_like(handed), torch.ones_like(handed), handed.sign()], dim=-1)
        rotation = (left * signs[..., None, :]) @ right
        symmetric = rotation.mT @ product
        eye = torch.eye(3, dtype=first.dtype, device=first.device)
        trace = symmetric.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        curvature = trace * eye - symmetric
        inverse = torch.linalg.pinv((curvature + curvature.mT) / 2, hermitian=True)
    residual = rotation.mT @ product
    skew = residual - residual.mT
    step = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1)
    step = (inverse @ step[..., None]).squeeze(-1)
    return rotation @ axis_angle_to_matrix(step - step.detach())
