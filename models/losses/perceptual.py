"""The perceptual loss: differences of VGG-19's features at several resolutions."""

import torch
from torch import Tensor, nn

from models.losses.gaussian import gaussian_filter
from models.losses.regions import check_frames, region_mean

SMALLEST = 16
"""Pixels of the shorter side below which a resolution is left out: of less, relu5_1 would be empty."""


class PerceptualLoss(nn.Module):
    """L_per = sum_s sum_l w_l mean |phi_l(D_s x) - phi_l(D_s y)| (IM-10; Johnson et al. 2016, pyramid as in FOMM).

    phi_l are relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19, trained on ImageNet; D_s makes a picture 1 / s
    as large, s = 1, 2, 4, 8, after a gaussian filter of sigma (s - 1) / 2. FOMM weighs every layer 10; that is weight
    a1 of IM-10, so here each is 1. Resolutions under 16 pixels a side are left out: a picture of 64 pixels has three.

    Args:
        features: the trained VGG-19 (`pretrained.vgg.vgg_features`): pictures to its five layers.
        scales: s, whole numbers.
        layer_weights: w_l of the five layers.

    Raises:
        ValueError: scales or layer weights that make no loss.
    """

    def __init__(
        self,
        features: nn.Module,
        *,
        scales: tuple[int, ...] = (1, 2, 4, 8),
        layer_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0),
    ):
        super().__init__()
        if not scales or min(scales) < 1:
            raise ValueError(
                f"scales of the perceptual loss are whole numbers from 1 on, such as 1, 2, 4, not {scales}"
            )
        if len(layer_weights) != 5 or min(layer_weights) < 0 or not any(layer_weights):
            raise ValueError(f"the perceptual loss weighs five layers, not negatively, and not {layer_weights}")
        self.scales, self.layer_weights = tuple(scales), tuple(layer_weights)
        self.features = features

    def forward(self, generated: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of frames; gradients reach the generated ones only.

        Args:
            generated: (N, 3, H, W) in [0, 1].
            target: (N, 3, H, W) in [0, 1].
            weight: (N, 1, H, W), what each pixel counts (`regions.region_mean`).

        Returns:
            A scalar: the mean over samples.

        Raises:
            ValueError: shapes that do not go together, or pictures of fewer than 16 pixels at every scale.
        """
        check_frames(generated, target, weight)
        side = min(generated.shape[-2:])
        scales = [scale for scale in self.scales if side / scale >= SMALLEST]
        if not scales:
            raise ValueError(
                f"frames of {tuple(generated.shape[-2:])} pixels are too small for the perceptual loss, which needs "
                f"{SMALLEST * min(self.scales)} a side"
            )
        terms = []
        for scale in scales:
            with torch.no_grad():
                wanted = self.features(downsample(target, scale))
            for layer, truth, factor in zip(
                self.features(downsample(generated, scale)), wanted, self.layer_weights, strict=True
            ):
                if factor:
                    terms.append(factor * region_mean((layer.float() - truth.float()).abs(), weight))
        return torch.stack(terms).sum()


def downsample(frames: Tensor, scale: int) -> Tensor:
    """Frames (N, C, H, W) at 1 / scale, free of aliasing: every scale-th pixel after a gaussian filter, as in FOMM.

    FOMM pads with black, which darkens borders; here what lies outside has no weight.
    """
    if scale == 1:
        return frames
    sigma = (scale - 1) / 2
    return gaussian_filter(frames, sigma, round(4 * sigma), stride=scale)
