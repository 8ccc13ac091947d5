"""A loss of pictures that needs no trained network: colours, edges and local structure at several resolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.losses.gaussian import full_precision
from models.losses.regions import check_frames, region_mean
from models.losses.ssim import ssim_map

SMALLEST = 16
"""Pixels of the shorter side below which a level is left out: SSIM's window would be most of the picture."""


class L1Loss(nn.Module):
    """L = mean |generated - target|."""

    def forward(self, generated: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """A scalar from frames (N, 3, H, W) in [0, 1]; `weight` (N, 1, H, W) is what each pixel counts."""
        check_frames(generated, target, weight)
        return region_mean((generated - target.detach()).abs(), weight)


class StructuralLoss(nn.Module):
    """Where no trained VGG is at hand (ours; in the place of L_per in IM-10).

    L = 1/K sum_k [ a mean |e_k| + b mean (1 - SSIM(x_k, y_k)) / 2 + c mean (|d_x e_k| + |d_y e_k|) / 2 ]

    over K levels, where x_k and y_k are the generated and the true picture at 1 / 2^k, averaged over pixels,
    e_k = x_k - y_k, d_x and d_y differences of neighbours, and SSIM has the usual 11-pixel window. The first term is
    colour, the second local contrast and structure, the third edges. Levels with a side under 16 pixels are left out.
    A sample's terms are means over its own pixels, so the loss of a batch is the mean of its samples'.

    Args:
        levels: resolutions K: 1, 1/2, 1/4, ...
        l1: weight a.
        ssim: weight b.
        edges: weight c.
    """

    def __init__(self, *, levels: int = 4, l1: float = 1.0, ssim: float = 1.0, edges: float = 1.0):
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels of the structural loss have to be 1 or more, not {levels}")
        if min(l1, ssim, edges) < 0 or max(l1, ssim, edges) == 0:
            raise ValueError("weights l1, ssim and edges of the structural loss are not negative, and one is positive")
        self.levels, self.l1, self.ssim, self.edges = levels, l1, ssim, edges

    def forward(self, generated: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of frames; gradients reach the generated ones only.

        Args:
            generated: (N, 3, H, W) in [0, 1].
            target: (N, 3, H, W) in [0, 1].
            weight: (N, 1, H, W), what each pixel counts (`regions.region_mean`).

        Returns:
            A scalar.

        Raises:
            ValueError: shapes that do not go together, or pictures of fewer than 16 pixels.
        """
        check_frames(generated, target, weight)
        if min(generated.shape[-2:]) < SMALLEST:
            raise ValueError(f"frames have to have {SMALLEST} pixels a side or more, not {tuple(generated.shape[-2:])}")
        with full_precision(generated.device):
            x = generated if generated.dtype == torch.float64 else generated.float()
            y = target.detach().to(x.dtype)
            terms: list[Tensor] = []
            for level in range(self.levels):
                if level:
                    x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
                    weight = None if weight is None else F.avg_pool2d(weight.to(x.dtype), 2)
                if min(x.shape[-2:]) < SMALLEST:
                    break
                terms.append(self._level(x, y, weight))
            return torch.stack(terms).mean()

    def _level(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        error = x - y
        total = self.l1 * region_mean(error.abs(), weight)
        if self.ssim:
            total = total + self.ssim * region_mean(1 - ssim_map(x, y), weight) / 2
        if self.edges:
            for axis in (2, 3):
                difference = error.diff(dim=axis).abs()
                at = None if weight is None else weight.narrow(axis, 0, difference.shape[axis])
                total = total + self.edges * region_mean(difference, at) / 2
        return total
