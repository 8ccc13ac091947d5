"""Residual blocks of convolutions over pictures (2D) and volumes (3D)."""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm over as many groups, at most 8, as divide the channels: the same for any batch and on any rank."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), the input brought to the output's channels where they differ.

    Args:
        channels: in.
        outputs: channels out; the same where left out.
        dimensions: 2 for (B, C, H, W), 3 for (B, C, D, H, W).
    """

    def __init__(self, channels: int, outputs: int | None = None, dimensions: Literal[2, 3] = 2):
        super().__init__()
        outputs = outputs or channels
        convolution = _CONVOLUTIONS[dimensions]
        self.before = nn.Sequential(group_norm(channels), nn.SiLU(), convolution(channels, outputs, 3, padding=1))
        self.after = nn.Sequential(group_norm(outputs), nn.SiLU(), convolution(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if outputs == channels else convolution(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, ...) to (B, outputs, ...)."""
        return self.skip(x) + self.after(self.before(x))


class Downsample(nn.Module):
    """Half the height and width: 2 x 2 pixels become channels, and a convolution mixes them.

    Args:
        channels: in.
        outputs: channels out.
    """

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        self.mix = nn.Conv2d(4 * channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, outputs, H / 2, W / 2)."""
        return self.mix(F.pixel_unshuffle(x, 2))


class Upsample(nn.Module):
    """Twice the height and width: a convolution makes four pixels of each.

    Args:
        channels: in.
        outputs: channels out.
    """

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        self.spread = nn.Conv2d(channels, 4 * outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, outputs, 2 H, 2 W)."""
        return F.pixel_shuffle(self.spread(x), 2)
