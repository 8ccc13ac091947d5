"""A narrow VGG-19 in the format of the published one, made up, for tests."""

from typing import Any

import timm.models.vgg
import torch
from torch import Tensor

NARROW = [8, 8, "M", 8, 8, "M", 12, 12, 12, 12, "M", 12, 12, 12, 12, "M", 12, 12, 12, 12, "M"]
TAPS = (0, 5, 10, 19, 28)
"""Numbers, in torchvision's `features`, of conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1."""


def narrow_vgg(monkeypatch: Any) -> None:
    """The same layers with a few channels each: the real weights are 574 MB."""
    monkeypatch.setitem(timm.models.vgg.cfgs, "vgg19", NARROW)


def torchvision_state(layout: list = NARROW, seed: int = 0) -> dict[str, Tensor]:
    """Random weights named as in torchvision's files, a classifier among them."""
    g = torch.Generator().manual_seed(seed)
    state, number, before = {}, 0, 3
    for width in layout:
        if width == "M":
            number += 1
            continue
        state[f"features.{number}.weight"] = torch.randn(width, before, 3, 3, generator=g) * (2 / (9 * before)) ** 0.5
        state[f"features.{number}.bias"] = torch.randn(width, generator=g) * 0.1
        before, number = width, number + 2
    return state | {"classifier.0.weight": torch.randn(5, 5), "classifier.0.bias": torch.randn(5)}
