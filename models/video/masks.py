"""Motion masks of poses, as pictures and at the sizes of a UNet's levels (MMGT-13, MMGT-15)."""

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.human.keypoints import FACE, LEFT_HAND, LIPS, RIGHT_HAND

Masking = Literal["motion", "still", "none"]
REGIONS: Final = ("face_hands", "lips", "background")
"""Their order in every tensor of masks; the same in training and in every driving mode (MMGT-15)."""
BLUR: Final = 1 / 32  # deviation of the blur in shorter sides of a level; half a place at least


@torch.no_grad()
def motion_masks(pose: Tensor, height: int, width: int) -> Tensor:
    """The three motion masks of poses, Algorithm 1 (MMGT-13); `models.human.motion_masks` has the same for files.

    Args:
        pose: (..., 134, 3) x and y as fractions of the frame, score; a missing point is (-1, -1, 0).
        height: rows.
        width: columns.

    Returns:
        (..., 3, height, width), 0 or 1, in the order of `REGIONS`.
    """
    face, left, right, lips = (_box(pose[..., region, :2], height, width) for region in _PARTS)
    face_hands = torch.maximum(face, torch.maximum(left, right))
    return torch.stack([face_hands, lips, 1 - face_hands], -3)


def masks_of(kind: Masking, masks: Tensor, frame: Tensor | int = 0) -> Tensor:
    """What a network is told of motion masks: all of them, or what the ablations leave (MMGT-24).

    Args:
        kind: "motion" keeps them; "still" holds those of the reference's frame; "none" is one everywhere.
        masks: (B, T, 3, H, W).
        frame: which of the T is the reference's, for all or (B,).
    """
    if kind == "motion":
        return masks
    return still(masks, frame) if kind == "still" else torch.ones_like(masks)


def still(masks: Tensor, frame: Tensor | int = 0) -> Tensor:
    """Masks (B, T, 3, H, W) that stay as they are in one frame, for all or (B,)."""
    held = masks[:, frame] if isinstance(frame, int) else masks[torch.arange(len(masks), device=masks.device), frame]
    return held[:, None].expand_as(masks)


@torch.no_grad()
def mask_pyramid(masks: Tensor, sizes: Sequence[tuple[int, int]], blur: float = BLUR) -> dict[str, Tensor]:
    """Masks at every level of a UNet: resized by area, blurred, normalised to [0, 1] (MMGT-15).

    Normalised is each mask of each frame for itself: its largest value becomes 1, so that lips of which a place of a
    coarse level holds a twentieth count as much as where they fill it. An empty mask stays 0, a full one 1.

    Args:
        masks: (B, T, 3, H, W) in [0, 1].
        sizes: (h, w) of each level.
        blur: deviation of the Gaussian in shorter sides of the level, at least half a place.

    Returns:
        (B, T, 3, h, w) by "hxw".
    """
    flat = masks.flatten(0, 1)
    result = {}
    for height, width in dict.fromkeys(sizes):
        small = F.adaptive_avg_pool2d(flat, (height, width))
        soft = blurred(small, max(0.5, blur * min(height, width)))
        soft = soft / soft.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(soft.dtype).tiny)
        result[f"{height}x{width}"] = soft.clamp(0, 1).unflatten(0, masks.shape[:2])
    return result


_PARTS: Final = (FACE, LEFT_HAND, RIGHT_HAND, LIPS)


def _box(points: Tensor, height: int, width: int) -> Tensor:
    """Box (..., H, W) around points (..., K, 2), filled from the least to, not including, the greatest pixel."""
    size = torch.tensor((width, height), device=points.device, dtype=torch.float64)
    # As numpy cuts them: a point on the edge of a pixel lies in the same one here and in files.
    pixels = torch.nan_to_num(points.double(), -1.0, -1.0, -1.0).mul(size).trunc()
    used = (pixels > 0).all(-1, keepdim=True)
    low = torch.where(used, pixels, size).amin(-2)
    high = torch.where(used, pixels.minimum(size), 0).amax(-2)
    x = torch.arange(width, device=points.device)
    y = torch.arange(height, device=points.device)
    columns = (x >= low[..., :1]) & (x < high[..., :1])
    rows = (y >= low[..., 1:]) & (y < high[..., 1:])
    return (rows[..., :, None] & columns[..., None, :]).to(torch.float32)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(N, C, h, w) under a Gaussian of so many places; what lies outside is as the edge is.

    Rows and columns are multiplied by a matrix each: a convolution of one channel takes several times as long on a CPU.
    """
    height, width = x.shape[-2:]
    return _spread(height, sigma, x) @ x @ _spread(width, sigma, x).T


def _spread(size: int, sigma: float, like: Tensor) -> Tensor:
    """(size, size): the share of each place in each blurred one."""
    radius = max(1, round(3 * sigma))
    offset = torch.arange(-radius, radius + 1, device=like.device)
    kernel = torch.exp(-0.5 * (offset.to(like.dtype) / sigma) ** 2)
    at = torch.arange(size, device=like.device)
    taken = (at[:, None] + offset).clamp(0, size - 1)
    return like.new_zeros(size, size).scatter_add_(1, taken, (kernel / kernel.sum()).expand(size, -1))
