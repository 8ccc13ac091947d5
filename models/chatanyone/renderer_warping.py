"""The warping-field estimator: how a volume moves from the source's key points to a frame's (CA-9)."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.residual import Downsample, ResidualBlock, Upsample, group_norm
from models.warping.warp import warp

_GAIN = 6.0  # how surely, at first, what is at a key point goes with it
_STILL = 2.0  # and how surely what is far from all of them stays


class WarpingField(NamedTuple):
    """How a volume moves for each of N frames.

    Attributes:
        flow: (B, N, 3, D, H, W), by how far each place looks aside along x, y and depth; 2 is the whole side.
        mask: (B, N, D, H, W) in [0, 1], how much of the moved features is taken.
        parts: (B, N, P + 1, D, H, W), how much each place goes with each key point; the first stays; they sum to one.
    """

    flow: Tensor
    mask: Tensor
    parts: Tensor


class WarpingFieldEstimator(nn.Module):
    """W: a volume and the key points of source and frame to a warping field (CA-9).

    Each key point says where its surroundings come from: X_s - X_d aside. A network over all depth planes says how
    much each place goes with which of them, and how much with none, from Gaussians about the points of frame and
    source, the volume itself and, with `compress`, the volume as each key point alone would move it.

    Args:
        points: P, of head and body together.
        channels: C, of a depth plane.
        planes: D.
        width: channels inside.
        halvings: how often the network halves height and width.
        compress: channels of the volume that is moved by each point alone; 0 leaves it out.
        spread: deviation of the Gaussians; 2 is the whole side.
    """

    def __init__(
        self, *, points: int, channels: int, planes: int, width: int, halvings: int, compress: int, spread: float
    ):
        super().__init__()
        self.points, self.planes, self.spread = points, planes, spread
        self.compress = nn.Conv3d(channels, compress, 1) if compress else None
        read = planes * (2 * points + channels + compress * (points + 1))
        widths = [width * min(2**i, 4) for i in range(halvings + 1)]
        self.enter = nn.Conv2d(read, width, 1)
        self.first = ResidualBlock(width)
        self.down = nn.ModuleList(
            nn.Sequential(Downsample(before, after), ResidualBlock(after)) for before, after in pairwise(widths)
        )
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level in range(halvings, 0, -1):
            self.up.append(Upsample(widths[level], widths[level - 1]))
            self.join.append(ResidualBlock(widths[level - 1]))
        self.last = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, planes * (points + 2), 1))
        last: nn.Conv2d = self.last[2]  # type: ignore[assignment]
        nn.init.normal_(last.weight, std=1e-2)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.gain = nn.Parameter(torch.tensor(_GAIN))

    def forward(self, volume: Tensor, source: Tensor, driving: Tensor) -> WarpingField:
        """F (B, C, D, H, W), X_s (B, P, 3) and X_d (B, N, P, 3) to the field of each frame."""
        batch, frames = driving.shape[:2]
        size = volume.shape[2:]
        moves = (source[:, None] - driving).flatten(0, 1)  # (R, P, 3): where what is at each point comes from
        there = self._gaussians(driving.flatten(0, 1), size)
        before = self._gaussians(source, size).repeat_interleave(frames, 0)
        seen = [there, before, volume.repeat_interleave(frames, 0)]
        if self.compress is not None:
            seen.append(self._moved(self.compress(volume).repeat_interleave(frames, 0), moves))
        x = self.first(self.enter(torch.cat([part.flatten(1, 2).to(volume.dtype) for part in seen], 1)))
        kept = []
        for layer in self.down:
            kept.append(x)
            x = layer(x)
        for grow, join in zip(self.up, self.join, strict=True):
            x = join(grow(x) + kept.pop())
        output = self.last(x).float().unflatten(1, (self.points + 2, self.planes))
        alone = torch.full_like(there[:, :1], _STILL)
        parts = (output[:, :-1] + torch.cat([alone, self.gain * there], 1)).softmax(1)
        flow = torch.einsum("rpdhw,rpc->rcdhw", parts[:, 1:], moves.float())
        mask = torch.sigmoid(output[:, -1] + _STILL)  # at first most is taken from where it came
        return WarpingField(*(part.unflatten(0, (batch, frames)) for part in (flow, mask, parts)))

    def _gaussians(self, points: Tensor, size: torch.Size) -> Tensor:
        """Points (R, P, 3) to (R, P, D, H, W): 1 at each point; the product of one along each axis."""
        axes = []
        for axis, steps in zip((2, 1, 0), size, strict=True):
            at = torch.linspace(-1, 1, steps, device=points.device) if steps > 1 else points.new_zeros(1)
            axes.append(torch.exp(-(at - points[..., axis, None].float()).square() / (2 * self.spread**2)))
        depth, y, x = axes
        return torch.einsum("rpd,rph,rpw->rpdhw", depth, y, x)

    def _moved(self, volume: Tensor, moves: Tensor) -> Tensor:
        """(R, c, D, H, W) moved by each of (R, P, 3) alone, and not at all: (R, c (P + 1), D, H, W)."""
        moves = torch.cat([torch.zeros_like(moves[:, :1]), moves], 1)
        one = volume[:, None].expand(-1, moves.shape[1], *volume.shape[1:]).flatten(0, 1)
        flow = moves.flatten(0, 1)[..., None, None, None].expand(-1, -1, *volume.shape[2:])
        return F.silu(warp(one, flow)).unflatten(0, (len(volume), -1)).flatten(1, 2)
