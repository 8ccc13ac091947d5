"""A volume of features to a picture."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.layers.residual import ResidualBlock, Upsample, group_norm

Inject = Callable[[int, Tensor], Tensor]
"""Number of a scale, from 0 at the features' size, and what is there (R, C, h, w), to the same."""


class ImageDecoder(nn.Module):
    """U: phi_r to frames (IM-9); G of ChatAnyone, into which more can be brought at each scale (CA-9, CA-10).

    Args:
        doublings: how often height and width are doubled from features to picture.
        width: channels before the last convolution; at the features' size there are up to four times as many.
        channels: C, of a depth plane.
        planes: S_d.
        blocks: residual blocks at the features' size.

    Attributes:
        widths: channels at each scale, from the features' size to the picture's.
    """

    def __init__(self, *, doublings: int, width: int, channels: int, planes: int, blocks: int):
        super().__init__()
        self.widths = [width * min(2**i, 4) for i in range(doublings, -1, -1)]
        layers: list[nn.Module] = [nn.Conv2d(channels * planes, self.widths[0], 3, padding=1)]
        layers += [ResidualBlock(self.widths[0]) for _ in range(blocks)]
        self._ends = [blocks]  # the last layer of each scale
        for before, after in pairwise(self.widths):
            layers += [Upsample(before, after), ResidualBlock(after)]
            self._ends.append(len(layers) - 1)
        self.layers = nn.ModuleList(layers)
        self.last = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))
        self.recompute = False

    def forward(self, features: Tensor, inject: Inject | None = None) -> Tensor:
        """(R, C, D, H, W) to frames (R, 3, S, S) in (0, 1); `inject` is asked at the end of each scale."""
        x = features.flatten(1, 2)
        for number, layer in enumerate(self.layers):
            if self.recompute and self.training:
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
            if inject is not None and number in self._ends:
                x = inject(self._ends.index(number), x)
        return torch.sigmoid(self.last(x))
