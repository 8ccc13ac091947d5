"""Drawn poses to what is added after a UNet's first convolution (MMGT-16)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class PoseGuider(nn.Module):
    """Animate Anyone's: convolutions that halve the picture until it has the size of the latents (Hu 2024).

    The last convolution starts at zero: an untrained guider adds nothing.

    Args:
        channels: width before the first and after each halving.
        output: channels of the UNet's first convolution.
    """

    def __init__(self, channels: Sequence[int], output: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), nn.SiLU()]
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, before, 3, padding=1), nn.SiLU()]
            layers += [nn.Conv2d(before, after, 3, padding=1, stride=2), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels[-1], output, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to (N, c, ceil(H / f), ceil(W / f)), f = 2 ^ (len(channels) - 1)."""
        return self.last(self.layers(pictures))
