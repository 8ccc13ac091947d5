"""Joints and rotations at another frame rate."""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from models.human.rotations import arrays_too, interpolate, matrix_to_quaternion, quaternion_to_matrix

TRUNCATE: Final = 4.0  # a Gaussian ends at so many deviations, as scipy's does


@arrays_too
def resample_joints(joints: Tensor, fps: float, to: float = 20.0, frames: int | None = None) -> Tensor:
    """Places at another rate: linear between frames, after a low-pass when frames get fewer.

    Frame 0 stays frame 0. The low-pass is a Gaussian that halves the power at half of the new rate.

    Args:
        joints: (..., T, J, 3), T at least 1.
        fps: their frames per second.
        to: the wanted ones.
        frames: how many; past the end the last movement goes on. Without it, as many as the T frames span.
    """
    _check(fps, to)
    time = joints.ndim - 3
    if fps == to and frames in (None, joints.shape[time]):
        return joints
    if fps > to:
        joints = smooth(joints, _deviation(fps, to), time)
    at = _places(joints.shape[time], fps, to, frames).to(joints)
    joints = joints.movedim(time, 0)
    if len(joints) == 1:
        return joints.expand(len(at), *joints.shape[1:]).movedim(0, time)
    before = at.floor().clamp(0, len(joints) - 2)
    index, share = before.long(), (at - before).view(-1, *[1] * (joints.ndim - 1))
    return torch.lerp(joints[index], joints[index + 1], share).movedim(0, time)


@arrays_too
def resample_rotations(rotations: Tensor, fps: float, to: float = 20.0, frames: int | None = None) -> Tensor:
    """Rotations (..., T, J, 3, 3) at another rate: slerp between frames, after a low-pass of the quaternions when they
    get fewer. Arguments as for `resample_joints`.
    """
    _check(fps, to)
    time = rotations.ndim - 4
    if fps == to and frames in (None, rotations.shape[time]):
        return rotations
    if fps > to:
        quaternion = matrix_to_quaternion(rotations).movedim(time, 0)
        dot = (quaternion[1:] * quaternion[:-1]).detach().sum(-1, keepdim=True)
        flips = torch.where(dot < 0, -1.0, 1.0).to(quaternion).cumprod(0)
        quaternion = torch.cat([quaternion[:1], quaternion[1:] * flips])
        rotations = quaternion_to_matrix(smooth(quaternion, _deviation(fps, to), 0)).movedim(0, time)
    return interpolate(rotations, _places(rotations.shape[time], fps, to, frames), dim=time)


def smooth(values: Tensor, deviation: float, dim: int) -> Tensor:
    """A Gaussian of `deviation` frames along `dim`; the outermost frames are repeated at the ends."""
    radius = int(TRUNCATE * deviation + 0.5)
    if radius == 0:
        return values
    places = torch.arange(-radius, radius + 1, dtype=values.dtype, device=values.device)
    weights = (-0.5 * (places / deviation) ** 2).exp()
    rows = values.movedim(dim, -1)
    flat = pad(rows.reshape(-1, 1, rows.shape[-1]), (radius, radius), mode="replicate")
    smoothed = conv1d(flat, (weights / weights.sum())[None, None])
    return smoothed.view(rows.shape).movedim(-1, dim)


def _deviation(fps: float, to: float) -> float:
    """Frames at `fps`: the Gaussian whose power is halved at to / 2 Hz."""
    return math.sqrt(math.log(2)) / (math.pi * to) * fps


def _places(length: int, fps: float, to: float, frames: int | None) -> Tensor:
    count = int((length - 1) * to / fps + 1e-6) + 1 if frames is None else frames
    return torch.arange(count, dtype=torch.float64) * (fps / to)


def _check(fps: float, to: float) -> None:
    if not (fps > 0 and to > 0):
        raise ValueError(f"frames per second must be above 0, not {fps} and {to}")
