"""From identity features and a deformation to frames."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.implicit_motion.motion_decoder import Deformation
from models.layers.residual import ResidualBlock, Upsample, group_norm


def warp(volume: Tensor, flow: Tensor) -> Tensor:
    """phi': features looked up where the flow points, trilinear, the border beyond the edge (IM-9).

    Args:
        volume: (R, C, D, H, W).
        flow: (R, 3, D, H, W), along x, y and depth; 2 is the whole side.
    """
    axes = [torch.linspace(-1, 1, size, device=flow.device, dtype=torch.float32) for size in flow.shape[2:]]
    depth, y, x = torch.meshgrid(*axes, indexing="ij")
    places = torch.stack([x, y, depth], -1) + flow.float().movedim(1, -1)
    moved = F.grid_sample(volume.float(), places, mode="bilinear", padding_mode="border", align_corners=True)
    return moved.to(volume.dtype)


def blend(volume: Tensor, deformation: Deformation, beta: float) -> Tensor:
    """phi_r (B, N, C, D, H, W) of F_id (B, C, D, H, W) (IM-9).

    phi_m = mask * phi' + (1 - mask) * F_id; phi_r = max(0, phi_m) + beta * min(0, phi_m).
    """
    frames = deformation.flow.shape[1]
    still = volume[:, None].expand(-1, frames, *volume.shape[1:])
    moved = warp(still.flatten(0, 1), deformation.flow.flatten(0, 1)).view_as(still)
    mask = deformation.mask[:, :, None]
    return F.leaky_relu(torch.lerp(still, moved, mask.to(moved.dtype)), beta)


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
