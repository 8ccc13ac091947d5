"""The Latent Motion Deviation Decoder: deviation maps to a deformation of every depth plane."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.implicit_motion.deviation import DEPTH, SIDE
from models.layers.residual import group_norm


class Deformation(NamedTuple):
    """What is done to F_id for each of N frames.

    Attributes:
        flow: phi (B, N, 3, S_d, H, W), by how far each place looks aside along x, y and depth; 2 is the whole side.
        mask: (B, N, S_d, H, W) in [0, 1], how much of the moved features is taken.
        focus: (B, N, regions, S_d, H, W), weights of the motion regions; they sum to one over regions.
    """

    flow: Tensor
    mask: Tensor
    focus: Tensor


class _Modulated(nn.Module):
    """Convolution, norm, scale and shift by the appearance vector, SiLU."""

    def __init__(self, channels: int, outputs: int, appearance: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, outputs, 3, padding=1)
        self.norm = group_norm(outputs)
        self.film = nn.Linear(appearance, 2 * outputs) if appearance else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        """x (R, C, H, W) and F_A (R, A) to (R, outputs, H, W)."""
        x = self.norm(self.convolution(x))
        if self.film is not None:
            scale, shift = self.film(appearance)[..., None, None].chunk(2, 1)
            x = torch.addcmul(shift, x, 1 + scale)
        return F.silu(x)


class LatentMotionDeviationDecoder(nn.Module):
    """Decodes identity features by deviation maps into one deformation (IM-7), with a mask per depth plane (IM-8).

    Each region's map is brought to the features' size, joined with F_id and F_A, and decoded into deviations of all
    depth planes. An attention module looks at them and says where which region counts: softmax over regions, then the
    sum. The paper's deformation has one number a place; here it has three, so that it can warp a volume (ours).

    Args:
        size: H = W of the features, 8 times a power of 2.
        channels: C, of a depth plane.
        planes: S_d.
        width: channels inside.
        appearance: numbers in F_A; 0 leaves it out (the paper's ablation).
        attention: false weighs all regions the same everywhere (the paper's ablation).

    Raises:
        ValueError: a size that 8 x 8 maps cannot be doubled to.
    """

    def __init__(self, *, size: int, channels: int, planes: int, width: int, appearance: int, attention: bool):
        super().__init__()
        doublings = round(math.log2(size / SIDE))
        if SIDE * 2**doublings != size or size < SIDE:
            raise ValueError(f"feature size {size} has to be 8 times a power of 2")
        self.planes = planes
        self.enter = _Modulated(DEPTH, width, appearance)
        self.grow = nn.ModuleList([_Modulated(width, width, appearance) for _ in range(doublings)])
        self.identity = nn.Conv2d(channels * planes, width, 1)
        self.join = _Modulated(width, width, appearance)
        self.deviate = nn.Conv2d(width, 3 * planes, 3, padding=1)
        self.attend = (
            nn.Sequential(nn.Conv2d(width + 3 * planes, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, planes, 1))
            if attention
            else None
        )
        self.mask = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, planes, 1))
        # Training begins with features that stay where they are.
        nn.init.normal_(self.deviate.weight, std=1e-3)
        nn.init.zeros_(self.deviate.bias)  # type: ignore[arg-type]

    def forward(self, deviations: Tensor, volume: Tensor, appearance: Tensor) -> Deformation:
        """Deviation maps (B, N, regions, 12, 8, 8), F_id (B, C, S_d, H, W) and F_A (B, A) to the deformation."""
        batch, frames, regions = deviations.shape[:3]
        who = appearance.repeat_interleave(frames * regions, 0)
        x = self.enter(deviations.flatten(0, 2), who)
        for layer in self.grow:
            x = layer(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), who)
        x = x + self.identity(volume.flatten(1, 2)).repeat_interleave(frames * regions, 0)
        x = self.join(x, who)
        deviated = self.deviate(x)
        if self.attend is None:
            focus = deviated.new_full((len(x), self.planes, *x.shape[2:]), 1 / regions)
            focus = focus.unflatten(0, (batch, frames, regions))
        else:
            focus = self.attend(torch.cat([x, deviated], 1)).unflatten(0, (batch, frames, regions)).softmax(2)
        moves = deviated.unflatten(1, (3, self.planes)).unflatten(0, (batch, frames, regions))
        flow = (moves * focus[:, :, :, None]).sum(2)
        mask = self.mask(x.unflatten(0, (-1, regions)).mean(1)).sigmoid().unflatten(0, (batch, frames))
        return Deformation(flow, mask, focus)
