"""The head cut out of a frame, its face masked, and a refined face blended back (CA-13)."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

INNER: Final = 0.95
"""Within this part of the face's ellipse a refined face is taken whole."""
OUTER: Final = 1.2
"""Beyond this one nothing of it is, and the background is seen."""
_LEAST: Final = 4.0  # pixels of a box: what is smaller is no head


def head_boxes(head: Tensor, height: int, width: int, margin: float) -> Tensor:
    """Squares of pixels about heads (R, K, 3) in [-1, 1]: left, top, right, bottom (R, 4), likewise.

    Args:
        head: key points.
        height: rows of the frame.
        width: columns.
        margin: share of the head's larger side by which a square is larger on each side.
    """
    low, high = head[..., :2].amin(-2), head[..., :2].amax(-2)
    size = head.new_tensor([width, height]) / 2  # pixels of a unit
    side = ((high - low) * size).amax(-1, keepdim=True).clamp(min=_LEAST) * (1 + 2 * margin)
    half = side / 2 / size
    middle = (low + high) / 2
    return torch.cat([middle - half, middle + half], -1)


def into_crop(points: Tensor, boxes: Tensor) -> Tensor:
    """Points (R, K, 2 or 3) of frames as those of crops: both in [-1, 1]; depth is scaled as the width is."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    moved = 2 * (points[..., :2] - low) / (high - low) - 1
    return torch.cat([moved, points[..., 2:] * 2 / (high - low)[..., :1]], -1)


def crop(frames: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Frames (R, C, H, W) cut to boxes (R, 4) in [-1, 1]: (R, C, side, side); beyond the edge its last pixels."""
    low, high = boxes[:, :2], boxes[:, 2:]
    maps = torch.diag_embed((high - low) / 2)
    maps = torch.cat([maps, ((high + low) / 2)[..., None]], -1)
    grid = F.affine_grid(maps.float(), [len(frames), 1, side, side], align_corners=False)
    return F.grid_sample(frames.float(), grid, padding_mode="border", align_corners=False).to(frames.dtype)


def face_mask(head: Tensor, height: int, width: int, soft: bool = False) -> Tensor:
    """The ellipse about a face's key points (R, K, 3) in [-1, 1]: (R, 1, H, W) in [0, 1].

    Args:
        head: key points, in the coordinates of the picture.
        height: rows of the picture.
        width: columns.
        soft: 1 within `INNER` of it, falling to 0 at `OUTER`; otherwise 1 within `OUTER`.
    """
    low, high = head[..., :2].amin(-2), head[..., :2].amax(-2)
    middle, radius = (low + high) / 2, ((high - low) / 2).clamp(min=1e-3)
    y = (torch.arange(height, device=head.device) + 0.5) * 2 / height - 1
    x = (torch.arange(width, device=head.device) + 0.5) * 2 / width - 1
    across = (x - middle[:, :1]) / radius[:, :1]
    down = (y - middle[:, 1:]) / radius[:, 1:]
    away = (across[:, None].square() + down[:, :, None].square()).sqrt()[:, None]
    if soft:
        return ((OUTER - away) / (OUTER - INNER)).clamp(0, 1)
    return (away < OUTER).to(head.dtype)


def blend_back(frames: Tensor, refined: Tensor, head: Tensor, boxes: Tensor) -> Tensor:
    """Frames with their refined faces in place, (R, 3, H, W); what is not the face stays as it is, bit for bit.

    Args:
        frames: (R, 3, H, W).
        refined: crops (R, 3, side, side) of the boxes.
        head: key points of the frames (R, K, 3) in [-1, 1].
        boxes: (R, 4), as `head_boxes` gives them.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    maps = torch.diag_embed(2 / (high - low))
    maps = torch.cat([maps, (-(high + low) / (high - low))[..., None]], -1)
    grid = F.affine_grid(maps.float(), [len(frames), 1, *frames.shape[2:]], align_corners=False)
    back = F.grid_sample(refined.float(), grid, padding_mode="border", align_corners=False).to(frames.dtype)
    inside = (grid.abs() <= 1).all(-1)[:, None]
    mask = face_mask(head, frames.shape[-2], frames.shape[-1], soft=True).to(frames.dtype) * inside
    return torch.where(mask > 0, torch.lerp(frames, back, mask), frames)
