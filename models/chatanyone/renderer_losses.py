"""Losses of the renderer's key points (CA-12): what LivePortrait and face-vid2vid ask of implicit points.

The pictures' own losses, perceptual, adversarial and reconstruction, are in `models/losses/`.
"""

import math
from typing import Final

import torch
from torch import Tensor

WING: Final = 0.2
"""Errors up to this one, of coordinates in [-1, 1], are weighed by their logarithm."""
CURVE: Final = 0.04
"""How sharply."""


def equivariance_loss(detected: Tensor, returned: Tensor) -> Tensor:
    """L_E = mean |x - T(x_T)|: points of a frame are where those of the turned frame are, turned back (CA-12).

    Args:
        detected: (B, N, k, 2).
        returned: points of the turned frames, brought back, likewise.
    """
    return (detected - returned).abs().mean()


def keypoint_prior_loss(points: Tensor, distance: float, depth: float = 0.0) -> Tensor:
    """L_L: key points do not crowd, and lie about one depth (CA-12; Eq. 9 of face-vid2vid).

    mean over pairs i != j of max(0, distance - |x_i - x_j|^2), and |mean z - depth|, each a mean over frames. 0 of one
    point's pairs. (The sum over pairs there; a constant factor.)

    Args:
        points: (..., k, 3).
        distance: squared distance beyond which nothing is asked.
        depth: of the points' mean.
    """
    count = points.shape[-2]
    apart = (points[..., :, None, :] - points[..., None, :, :]).square().sum(-1)
    near = (distance - apart).clamp(min=0) * (1 - torch.eye(count, device=points.device, dtype=points.dtype))
    crowded = near.sum((-2, -1)) / max(1, count * (count - 1))
    return (crowded + (points[..., 2].mean(-1) - depth).abs()).mean()


def deformation_prior_loss(*moves: Tensor) -> Tensor:
    """L_D = sum of mean |delta|: points depart as little as they need from where they rest (CA-12).

    Args:
        moves: delta of the body's points, dX of the head's, (..., 3) each; those without points count nothing.
    """
    terms = [move.abs().mean() for move in moves if move.numel()]
    return torch.stack(terms).sum() if terms else moves[0].sum()


def landmark_loss(points: Tensor, landmarks: Tensor, seen: Tensor) -> Tensor:
    """L_lms: some of the implicit points are where landmarks of the limbs are (CA-12; Wing loss, Feng et al. 2018).

    wing(e) = w log(1 + |e| / c) for |e| < w, |e| - w + w log(1 + w / c) beyond; the mean over both coordinates of the
    landmarks that are seen in a sample, then over samples; 0 for one without any.

    Args:
        points: (B, N, m, 2).
        landmarks: (B, N, m, 2) in [-1, 1].
        seen: (B, N, m) bool.
    """
    error = (points - torch.where(seen[..., None], landmarks, points.detach())).abs()
    far = WING * (1 - math.log1p(WING / CURVE))
    wing = torch.where(error < WING, WING * torch.log1p(error / CURVE), error - far)
    known = seen[..., None].expand_as(wing).to(wing.dtype)
    return ((wing * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)).mean()
