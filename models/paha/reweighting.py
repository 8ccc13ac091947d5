"""Parts-aware re-weighting (PAR): how much each place of a frame counts in the loss (PAHA, 4.1.2, Eq. 2 and 3)."""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from models.human.keypoints import BODY, FACE, FEET, HANDS
from models.video.masks import blurred

RELIABLE: Final = 0.8  # tau: the score above which a key point counts (PH-6)
RADIUS: Final = 10 / 512  # of the circle around a key point, in shorter sides (PH-7)
PARTS: Final = 10.0  # w1, what hands and face count (PH-8)
WHOLE: Final = 2.0  # w2, what the body counts
_GRID: Final = 256  # places of the shorter side that areas are made at, at least


@torch.no_grad()
def part_weights(
    pose: Tensor,
    height: int,
    width: int,
    *,
    reliable: float = RELIABLE,
    parts: float = PARTS,
    whole: float = WHOLE,
    capped: bool = True,
) -> Tensor:
    """Weights (B, 1, T, height, width) of the squared error at every latent.

    Around each reliable key point of hands and face lies a circle. Inside the circles a place counts the smoothed sum
    of the scores of the key points that cover it, times `parts`, and never less than outside of them (ours); in the
    rectangle of the body's reliable key points `whole`; elsewhere 1. Without a reliable key point all count 1, and the
    loss is the plain one (PH-9).

    Args:
        pose: (B, T, 134, 3) x and y as fractions of the frame, score.
        height: rows of latents.
        width: their columns.
        reliable: score above which a key point counts.
        parts: what hands and face count.
        whole: what the body counts.
        capped: the sum of scores is at most 1, and with it the weight at most `parts` (ours; false is Eq. 3 as
            printed).
    """
    finer = 2 ** max(0, math.ceil(math.log2(_GRID / min(height, width))))  # places of the grid along a latent
    rows, columns = height * finer, width * finer
    flat = pose.flatten(0, 1).float()
    score = flat[..., 2] * (flat[..., 2] > reliable)
    area = _rectangle(flat, score, rows, columns).to(flat.dtype)
    weight = 1 + (whole - 1) * area
    covering = _covering(flat, score, rows, columns)
    inside = covering > 0
    amount = covering.clamp(max=1) if capped else covering
    # Smoothed over half of a circle's radius (ours).
    smooth = blurred(amount[:, None], RADIUS * min(rows, columns) / 2)[:, 0]
    weight = torch.where(inside, torch.maximum(parts * smooth, weight), weight)
    small = F.avg_pool2d(weight[:, None], finer)
    return small.unflatten(0, pose.shape[:2]).transpose(1, 2)


def _covering(flat: Tensor, score: Tensor, rows: int, columns: int) -> Tensor:
    """(N, rows, columns): the sum of the scores of those key points of hands and face whose circle covers a place."""
    points = torch.cat([flat[:, FACE, :2], flat[:, HANDS, :2]], 1)
    scores = torch.cat([score[:, FACE], score[:, HANDS]], 1)
    radius = RADIUS * min(rows, columns)
    reach = int(radius)
    offset = torch.arange(-reach, reach + 1, device="cpu")
    down, across = torch.meshgrid(offset, offset, indexing="ij")
    disc = down**2 + across**2 <= radius**2
    down, across = down[disc].to(flat.device), across[disc].to(flat.device)
    at = (points * points.new_tensor((columns, rows))).floor().long()
    x, y = at[..., :1] + across, at[..., 1:] + down  # (N, K, places of the disc)
    # What is outside of the frame has no circle, also where that would reach into it.
    size = torch.tensor((columns, rows), device=at.device)
    there = ((at >= 0) & (at < size)).all(-1, keepdim=True)
    there = there & (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    place = torch.where(there, y * columns + x, 0).flatten(1)
    amount = (scores[..., None] * there).flatten(1)
    return flat.new_zeros(len(flat), rows * columns).scatter_add_(1, place, amount).unflatten(1, (rows, columns))


def _rectangle(flat: Tensor, score: Tensor, rows: int, columns: int) -> Tensor:
    """(N, rows, columns) bool: between the outermost reliable key points of body and feet."""
    used = torch.cat([score[:, BODY], score[:, FEET]], 1) > 0
    points = torch.cat([flat[:, BODY, :2], flat[:, FEET, :2]], 1)
    infinite = torch.tensor(float("inf"), device=flat.device)
    low = points.where(used[..., None], infinite).amin(1)
    high = points.where(used[..., None], -infinite).amax(1)
    x = (torch.arange(columns, device=flat.device) + 0.5) / columns
    y = (torch.arange(rows, device=flat.device) + 0.5) / rows
    across = (x >= low[:, :1]) & (x <= high[:, :1])
    down = (y >= low[:, 1:]) & (y <= high[:, 1:])
    return down[:, :, None] & across[:, None, :]
