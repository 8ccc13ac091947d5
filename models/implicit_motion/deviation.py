"""The Deviation Image Transformer: how the motion of a frame differs from the source's."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.implicit_motion.motion_encoder import MOTION

SIDE, DEPTH = 8, 12
EPS = 1e-5


def standardise(motion: Tensor) -> Tensor:
    """M (..., 768) as V_nor (..., 12, 8, 8), with mean 0 and deviation 1 over its numbers (IM-5)."""
    normal = nn.functional.layer_norm(motion, (MOTION,))
    return normal.unflatten(-1, (SIDE, SIDE, DEPTH)).movedim(-1, -3)


class DeviationImageTransformer(nn.Module):
    """Motion features of a source and its frames to deviation maps, one per motion region (IM-5, IM-6; Eq. 2).

    Delta_i = (V_nor^i - V_nor^0) / sqrt(delta^2 + eps) * k_sc + k_sh, where V in R^(8 x 8 x 12) is the motion vector
    M reshaped and normalised, and delta the deviation of each channel of V_nor^0 over its 8 x 8 positions (of what, the
    paper does not say: ours). A transformer over the positions and 3D convolutions make k of V_nor^i.

    Args:
        regions: lambda, motion regions.
        width: channels of the transformer.
        layers: of the transformer.
        heads: of its attention.
        convolutions: 3D convolutions.
        hidden: channels between them.
        transformer: false leaves the transformer out (the paper's ablation).
    """

    def __init__(
        self, *, regions: int, width: int, layers: int, heads: int, convolutions: int, hidden: int, transformer: bool
    ):
        super().__init__()
        self.regions = regions
        self.inner = self.outer = None
        if transformer:
            layer = nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.inner, self.outer = nn.Linear(DEPTH, width), nn.Linear(width, DEPTH)
            self.positions = nn.Parameter(0.02 * torch.randn(SIDE * SIDE, width))
            self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        sizes = [1] + [hidden] * (convolutions - 1)
        stack: list[nn.Module] = []
        for before, after in pairwise(sizes):
            stack += [nn.Conv3d(before, after, 3, padding=1), nn.SiLU()]
        last = nn.Conv3d(sizes[-1], 2 * regions, 3, padding=1)
        self.convolutions = nn.Sequential(*stack, last)
        nn.init.normal_(last.weight, std=0.02)  # k begins as scale 1 and shift 0
        last.bias = nn.Parameter(torch.cat([torch.ones(regions), torch.zeros(regions)]))

    def forward(self, source: Tensor, motion: Tensor) -> Tensor:
        """M^0 (B, 768) and M (B, N, 768) to deviation maps (B, N, regions, 12, 8, 8)."""
        still = standardise(source)[:, None]
        moved = standardise(motion)
        deviation = (moved - still) / torch.sqrt(still.var((-2, -1), unbiased=False, keepdim=True) + EPS)
        scale, shift = self._k(moved)
        return deviation[:, :, None] * scale + shift

    def _k(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """V_nor (B, N, 12, 8, 8) to k_sc and k_sh, each (B, N, regions, 12, 8, 8)."""
        x = moved.flatten(0, 1)
        if self.inner is not None and self.outer is not None:
            positions = self.inner(x.flatten(2).transpose(1, 2)) + self.positions
            x = x + self.outer(self.transformer(positions)).transpose(1, 2).view_as(x)
        k = self.convolutions(x[:, None]).unflatten(0, moved.shape[:2])
        return k[:, :, : self.regions], k[:, :, self.regions :]
