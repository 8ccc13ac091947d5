"""VGG-19 as a yardstick: the features that perceptual losses compare."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn

ARCHITECTURE: Final = "vgg19"
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in [0, 1], by colour."""


class VGGFeatures(nn.Module):
    """Five feature maps of a picture: relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19.

    With trained weights only (`pretrained.vgg`): there is no way to get it with random ones, but on the meta device,
    where no number is computed.

    Args:
        state: tensors of the whole network, named as torchvision and timm name them; not read on the meta device.

    Raises:
        ValueError: they are another network's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor]):
        super().__init__()
        layers = _layers()
        if torch.get_default_device().type != "meta":
            layers.load_state_dict(_chosen(layers, state), assign=True)
        ends = [0, *(tap + 1 for tap in _taps(layers))]
        self.stages = nn.ModuleList(layers[start:end] for start, end in pairwise(ends))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Features (N, 64, H, W), (N, 128, H / 2, W / 2), ..., (N, 512, H / 16, W / 16) of (N, 3, H, W) in [0, 1]."""
        x = ((frames - self.mean) / self.std).to(next(self.parameters()).dtype)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _layers() -> nn.Sequential:
    """VGG-19 up to relu5_1, numbered as in torchvision's `features`, without memory: weights are put in after."""
    import timm  # here: it takes seconds to import, and what goes without it should not wait

    with torch.device("meta"):
        layers: Any = timm.create_model(ARCHITECTURE).features
    return layers[: _taps(layers)[-1] + 1]


def _taps(layers: nn.Sequential) -> list[int]:
    """Numbers of the first ReLU of each resolution."""
    found, waiting = [], True
    for number, layer in enumerate(layers):
        if waiting and isinstance(layer, nn.ReLU):
            found.append(number)
        waiting = isinstance(layer, nn.MaxPool2d) or (waiting and not isinstance(layer, nn.ReLU))
    return found


def _chosen(layers: nn.Sequential, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the layers want, from a whole network's tensors. Raises ValueError where something does not fit."""
    chosen = {}
    for name, wanted in layers.state_dict().items():
        found = state.get(f"features.{name}")
        if found is None or found.shape != wanted.shape:
            there = "is missing" if found is None else f"is {tuple(found.shape)}"
            raise ValueError(
                f"features.{name} {there}, and should be {tuple(wanted.shape)} (its tensors begin with "
                f"{', '.join(list(state)[:3]) or 'nothing'})"
            )
        # A copy: a file that is mapped into memory may change.
        chosen[name] = found.to(torch.get_default_device(), torch.float32, copy=True)
    return chosen
