"""What every measure of poses shares: which points are there, and in which unit they are."""

import torch
from torch import Tensor


def as_pose(pose: Tensor) -> Tensor:
    """Check that a tensor is (..., T, points, 3) and give it in float64; raises ValueError with the shape it has."""
    pose = torch.as_tensor(pose)
    if pose.ndim < 3 or pose.shape[-1] != 3:
        raise ValueError(f"a pose is (..., frames, points, 3): x, y, score; this one is {tuple(pose.shape)}")
    return pose.double()


def visible(pose: Tensor, threshold: float = 0.0) -> Tensor:
    """Where points are not missing: (..., T, P, 3) to a bool (..., T, P)."""
    return pose[..., 2] > threshold


def in_frame_heights(pose: Tensor, aspect: float = 1.0) -> Tensor:
    """Coordinates in frame heights: (..., T, P, 3) in fractions to (..., T, P, 2).

    Args:
        pose: x, y as fractions of the frame, score.
        aspect: width over height of the frame.
    """
    return torch.stack([pose[..., 0] * aspect, pose[..., 1]], -1)


def pair(generated: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Two poses of one shape in float64; raises ValueError where the shapes differ."""
    generated, truth = as_pose(generated), as_pose(truth)
    if generated.shape != truth.shape:
        raise ValueError(f"generated {tuple(generated.shape)} and true {tuple(truth.shape)} poses differ in shape")
    return generated, truth
