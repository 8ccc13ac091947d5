"""The displacement network: how far the head's key points are from what a frame shows (CA-1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.residual import Downsample, ResidualBlock


class HeadDisplacement(nn.Module):
    """Frames and the head template's key points to offsets dX, X_head = X_template + dX (CA-1; Eq. 2).

    Features of the frame are looked up where each key point is, joined with those of the whole frame, the point's own
    place and a learned vector that says which point it is. Training begins with no offset.

    Args:
        points: K.
        width: channels after the first convolution.
        reach: largest offset along each axis; 2 is the whole side.
    """

    def __init__(self, *, points: int, width: int, reach: float):
        super().__init__()
        self.reach = reach
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for before, after in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [Downsample(before, after), ResidualBlock(after)]
        self.layers = nn.Sequential(*layers)
        self.which = nn.Parameter(0.02 * torch.randn(points, 4 * width))
        self.look = nn.Linear(8 * width + 3, 4 * width)
        self.last = nn.Linear(4 * width, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, frames: Tensor, head: Tensor) -> Tensor:
        """Frames (R, 3, H, W) in [0, 1] and key points (R, K, 3) in [-1, 1] to offsets (R, K, 3)."""
        features = self.layers(2 * frames - 1)
        places = head[:, :, None, :2].to(features.dtype)
        here = F.grid_sample(features, places, mode="bilinear", padding_mode="border", align_corners=True)[..., 0]
        whole = features.mean((2, 3))[:, None].expand(-1, head.shape[1], -1)
        x = self.look(torch.cat([here.transpose(1, 2), whole, head.to(features.dtype)], -1)) + self.which
        return self.reach * torch.tanh(self.last(F.silu(x)))
