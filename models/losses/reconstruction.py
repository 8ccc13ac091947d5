"""How near a generated picture is to the true one: the losses that pixel stages choose from."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from models.losses.perceptual import PerceptualLoss
from models.losses.structural import L1Loss, StructuralLoss
from models.losses.vgg import WHERE, WeightsError

ReconstructionLoss = Literal["vgg19", "structural", "l1"]
"""vgg19: the papers' perceptual loss, with trained weights. structural: the best without any. l1: plain, to compare."""


def build_reconstruction_loss(name: ReconstructionLoss, weights: str | Path | None = None, **options: Any) -> nn.Module:
    """A loss module: (generated, target, weight=None) to a scalar, for frames (N, 3, H, W) in [0, 1] (IM-10).

    Args:
        name: "vgg19", "structural" or "l1".
        weights: of VGG-19; the others take none.
        options: of `PerceptualLoss` or `StructuralLoss`.

    Raises:
        ValueError: another name, or weights for a loss that takes none.
        WeightsError: "vgg19" without weights, or with such as cannot be had. It is a ValueError.
    """
    if name == "vgg19":
        if weights is None and torch.get_default_device().type != "meta":  # where no file is read (`VGGFeatures`)
            raise WeightsError(f"the perceptual loss needs trained weights of VGG-19: {WHERE}; or take 'structural'")
        return PerceptualLoss(weights or "", **options)
    if weights is not None:
        raise ValueError(f"the loss '{name}' takes no weights; 'vgg19' does")
    if name == "structural":
        return StructuralLoss(**options)
    if name == "l1":
        return L1Loss(**options)
    raise ValueError(f"there is no reconstruction loss '{name}'; take one of vgg19, structural, l1")
