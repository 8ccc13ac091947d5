"""What pixels count: those of face, hands and lips more."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.video.masks import motion_masks

_MARGIN = 1 / 64
"""Of the shorter side, by which boxes of key points are made larger: what they show goes beyond the points."""


@torch.no_grad()
def region_weights(pose: Tensor, height: int, width: int, more: float) -> Tensor:
    """Weights (N, 1, height, width) of pixels: 1 + more in boxes of face and hands, 1 + 2 more in that of the lips.

    Args:
        pose: (N, 134, 3) as `models.video.masks.motion_masks` takes it.
        height: rows.
        width: columns.
        more: how much more such pixels count.
    """
    masks = motion_masks(pose, height, width)[:, :2].sum(1, keepdim=True)
    margin = max(1, round(_MARGIN * min(height, width)))
    return 1 + more * F.max_pool2d(masks, 2 * margin + 1, stride=1, padding=margin)
