"""The head's key points on the renderer's grid: the head template's, or the landmarks of a face (CA-1)."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.chatanyone.head import INDICES

KNOWN: Final = 0.5
"""Share of the head's key points from which on a head is seen."""
_HEAD: Final = list(INDICES)


class Heads(NamedTuple):
    """Key points of heads in frames.

    Attributes:
        points: (..., K, 3) on the grid: -1 to 1 from left to right and from top to bottom, and depth.
        seen: (...) bool, where there is a head.
    """

    points: Tensor
    seen: Tensor


def to_grid(points: Tensor, aspect: float | Tensor) -> Tensor:
    """The head template's points on the renderer's grid.

    A height of the frame is two units up and down and in depth; two units across are the frame's width, whatever its
    shape.

    Args:
        points: (..., K, 3) heights of the frame: x from its left edge, y from its upper one, z from the middle of the
            head.
        aspect: width of the frame over its height; a number, or (...) one for each head.

    Returns:
        (..., K, 3): -1 to 1 from left to right and from top to bottom, 0 in depth at the middle of the head.
    """
    wide = torch.as_tensor(aspect, dtype=points.dtype, device=points.device)[..., None]
    x, y, z = points.unbind(-1)
    return torch.stack([2 * x / wide - 1, 2 * y - 1, 2 * z], -1)


def landmark_heads(pose: Tensor) -> Heads:
    """The face's own landmarks in poses (..., 134, 3), of no depth.

    A point that is missing goes with the middle of the others.
    """
    face = pose[..., _HEAD, :]
    known = face[..., 2:] > 0
    places = 2 * face[..., :2] - 1
    middle = (places * known).sum(-2, keepdim=True) / known.sum(-2, keepdim=True).clamp(min=1)
    places = torch.where(known, places, middle)
    seen = known[..., 0].float().mean(-1) >= KNOWN
    return Heads(torch.cat([places, torch.zeros_like(places[..., :1])], -1), seen)
