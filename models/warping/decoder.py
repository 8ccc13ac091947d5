"""A volume of features to a picture."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.layers.residual import ResidualBlock, Upsample, group_norm


class ImageDecoder(nn.Module):
    """U: phi_r to frames (IM-9).

    Args:
        doublings: how often height and width are doubled from features to picture.
        width: channels before the last convolution; at the features' size there are up to four times as many.
        channels: C, of a depth plane.
        planes: S_d.
        blocks: residual blocks at the features' size.
    """

    def __init__(self, *, doublings: int, width: int, channels: int, planes: int, blocks: int):
        super().__init__()
        widths = [width * min(2**i, 4) for i in range(doublings, -1, -1)]
        layers: list[nn.Module] = [nn.Conv2d(channels * planes, widths[0], 3, padding=1)]
        layers += [ResidualBlock(widths[0]) for _ in range(blocks)]
        for before, after in pairwise(widths):
            layers += [Upsample(before, after), ResidualBlock(after)]
        self.layers = nn.ModuleList(layers)
        self.last = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))
        self.recompute = False

    def forward(self, features: Tensor) -> Tensor:
        """(R, C, D, H, W) to frames (R, 3, S, S) in (0, 1)."""
        x = features.flatten(1, 2)
        for layer in self.layers:
            if self.recompute and self.training:
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
        return torch.sigmoid(self.last(x))
