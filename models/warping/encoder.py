"""A picture to a volume of features in depth planes."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.layers.residual import Downsample, ResidualBlock, group_norm


class DepthWeights(nn.Module):
    """One weight per depth plane, w_m = sigmoid(FC(mean of F_m over depth, height and width)) (IM-2; Eq. 1).

    Args:
        channels: C.
        planes: S_d.
    """

    def __init__(self, channels: int, planes: int):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, planes))

    def forward(self, volume: Tensor) -> Tensor:
        """F_m (B, C, S_d, H, W) to (B, S_d) in (0, 1)."""
        return torch.sigmoid(self.fc(volume.mean((2, 3, 4))))


class ImageEncoder(nn.Module):
    """A picture to depth-aware identity features F_id (IM-1, IM-2).

    I_S -> F_0 (C_0, H, W) -> a convolution, expanded along a depth axis: F_m (C, S_d, H, W) -> each plane weighed ->
    a 3D residual network.

    Args:
        halvings: how often height and width are halved from picture to features.
        width: channels after the first convolution; each halving doubles them, up to four times.
        channels: C, of a depth plane.
        planes: S_d.
        blocks: residual blocks of the 3D network.
    """

    def __init__(self, *, halvings: int, width: int, channels: int, planes: int, blocks: int):
        super().__init__()
        self.planes = planes
        widths = [width * min(2**i, 4) for i in range(halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for before, after in pairwise(widths):
            layers += [Downsample(before, after), ResidualBlock(after)]
        self.features = nn.Sequential(*layers)  # to F_0
        self.expand = nn.Sequential(group_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], channels * planes, 1))
        self.weights = DepthWeights(channels, planes)
        self.refine = nn.Sequential(*[ResidualBlock(channels, dimensions=3) for _ in range(blocks)])

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to F_id (B, C, S_d, H, W)."""
        volume = self.expand(self.features(2 * image - 1)).unflatten(1, (-1, self.planes))
        return self.refine(self.weights(volume)[:, None, :, None, None] * volume)
