"""How near a generated picture is to the true one: the losses that pixel stages choose from."""

from typing import Any, Literal

from torch import nn

from models.losses.perceptual import PerceptualLoss
from models.losses.structural import L1Loss, StructuralLoss

ReconstructionLoss = Literal["vgg19", "structural", "l1"]
"""vgg19: the papers' perceptual loss, with trained weights. structural: the best without any. l1: plain, to compare."""


def build_reconstruction_loss(name: ReconstructionLoss, features: nn.Module | None = None, **options: Any) -> nn.Module:
    """A loss module: (generated, target, weight=None) to a scalar, for frames (N, 3, H, W) in [0, 1] (IM-10).

    Args:
        name: "vgg19", "structural" or "l1".
        features: VGG-19's, of "vgg19" (`pretrained.vgg.vgg_features`); the others take none.
        options: of `PerceptualLoss` or `StructuralLoss`.

    Raises:
        ValueError: another name, "vgg19" without features, or features for a loss that takes none.
    """
    if name == "vgg19":
        if features is None:
            raise ValueError("the perceptual loss compares VGG-19's features: give them, or take 'structural'")
        return PerceptualLoss(features, **options)
    if features is not None:
        raise ValueError(f"the loss '{name}' takes no features; 'vgg19' does")
    if name == "structural":
        return StructuralLoss(**options)
    if name == "l1":
        return L1Loss(**options)
    raise ValueError(f"there is no reconstruction loss '{name}'; take one of vgg19, structural, l1")
