"""Volumes moved by a flow."""

import torch
from torch import Tensor
from torch.nn import functional as F


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


def blend(volume: Tensor, flow: Tensor, mask: Tensor, beta: float) -> Tensor:
    """phi_r (B, N, C, D, H, W) of a volume (IM-9).

    phi_m = mask * phi' + (1 - mask) * F_id; phi_r = max(0, phi_m) + beta * min(0, phi_m).

    Args:
        volume: F_id (B, C, D, H, W).
        flow: phi (B, N, 3, D, H, W), by how far each place looks aside along x, y and depth; 2 is the whole side.
        mask: (B, N, D, H, W) in [0, 1], how much of the moved features is taken.
        beta: factor of negative features.
    """
    still = volume[:, None].expand(-1, flow.shape[1], *volume.shape[1:])
    moved = warp(still.flatten(0, 1), flow.flatten(0, 1)).view_as(still)
    return F.leaky_relu(torch.lerp(still, moved, mask[:, :, None].to(moved.dtype)), beta)
