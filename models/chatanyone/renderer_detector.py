"""The key-point detector: the implicit 3D key points of a body (CA-2)."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.layers.residual import Downsample, ResidualBlock, Upsample, group_norm

_TEMPERATURE = 0.1  # of the softmax over places, as in face-vid2vid


class BodyPoints(NamedTuple):
    """What is detected in R frames; coordinates are in [-1, 1], left to right, top to bottom, and in depth.

    Attributes:
        canonical: X_c (R, k, 3).
        movement: delta (R, k, 3).
        scale: s (R, 1).
        place: t (R, 3).
    """

    canonical: Tensor
    movement: Tensor
    scale: Tensor
    place: Tensor


def body_points(canonical: Tensor, movement: Tensor, scale: Tensor, place: Tensor) -> Tensor:
    """X = s (X_c R + delta) + t with R = identity (CA-2; Eq. 3), (..., k, 3).

    Args:
        canonical: X_c (..., k, 3), of the source picture.
        movement: delta (..., k, 3).
        scale: s (..., 1).
        place: t (..., 3).
    """
    return scale[..., None] * (canonical + movement) + place[..., None, :]


class KeypointDetector(nn.Module):
    """L: frames to canonical key points, movement, scale and place (CA-2, CA-9).

    A point is the mean of places weighed by a heat map of its own, its depth the mean of a depth map by the same
    weights; delta is by how far that is from the point's rest, which is learned. X_c, s and t come from the frame as a
    whole: X_c = rest + what is particular to the person.

    Args:
        points: k.
        width: channels after the first convolution; each halving doubles them, up to four times.
        halvings: how often height and width are halved.
        doublings: how often they are doubled again, to the size of the heat maps.
    """

    def __init__(self, *, points: int, width: int, halvings: int, doublings: int):
        super().__init__()
        self.points = points
        widths = [width * min(2**i, 4) for i in range(halvings + 1)]
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(Downsample(before, after), ResidualBlock(after)) for before, after in pairwise(widths)
        )
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level in range(halvings, halvings - doublings, -1):
            self.up.append(Upsample(widths[level], widths[level - 1]))
            self.join.append(ResidualBlock(widths[level - 1]))
        at = widths[halvings - doublings]
        self.maps = nn.Sequential(group_norm(at), nn.SiLU(), nn.Conv2d(at, 2 * points, 3, padding=1))
        self.rest = nn.Parameter(torch.cat([torch.empty(points, 2).uniform_(-0.6, 0.6), torch.zeros(points, 1)], -1))
        self.whole = nn.Sequential(nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 3 * points + 4))
        last: nn.Linear = self.whole[1]  # type: ignore[assignment]
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)

    def forward(self, frames: Tensor) -> BodyPoints:
        """(R, 3, H, W) in [0, 1] to what is detected."""
        x, kept = self.enter(2 * frames - 1), []
        for layer in self.down:
            kept.append(x)
            x = layer(x)
        numbers = self.whole(x.mean((2, 3))).float()
        for grow, join in zip(self.up, self.join, strict=True):
            x = join(grow(x) + kept.pop())
        heat, depth = self.maps(x).float().chunk(2, 1)
        weights = (heat.flatten(2) / _TEMPERATURE).softmax(-1).view_as(heat)
        y, across = (torch.linspace(-1, 1, size, device=x.device) for size in heat.shape[-2:])
        found = torch.stack(
            [
                (weights.sum(2) * across).sum(-1),
                (weights.sum(3) * y).sum(-1),
                (weights * torch.tanh(depth)).sum((2, 3)),
            ],
            -1,
        )
        own, scale, place = numbers.split([3 * self.points, 1, 3], -1)
        rest = self.rest.float()
        return BodyPoints(rest + own.unflatten(-1, (self.points, 3)), found - rest, torch.exp(scale), place)
