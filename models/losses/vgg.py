"""VGG-19 as a yardstick: the features that perceptual losses compare, with the weights that the field uses."""

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

ARCHITECTURE: Final = "vgg19"
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in [0, 1], by colour."""

WHERE: Final = (
    "give one of: torchvision's file (https://download.pytorch.org/models/vgg19-dcbb9e9d.pth, 574 MB); a folder or "
    "safetensors file made with `hf download timm/vgg19.tv_in1k --local-dir FOLDER`; or the name timm/vgg19.tv_in1k, "
    "which is downloaded once"
)
_ENDINGS: Final = (".pth", ".pt", ".bin", ".safetensors")


class WeightsError(ValueError):
    """The weights of a trained network cannot be had; the message says where to get them."""


class VGGFeatures(nn.Module):
    """Five feature maps of a picture: relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19.

    Frozen, and in evaluation mode for good. With trained weights only: there is no way to get it with random ones, but
    on the meta device, where no number is computed and no file is read.

    Args:
        weights: torchvision's file, timm's folder or file, or a name on the Hugging Face hub.

    Raises:
        WeightsError: the weights cannot be found, read, or are another network's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path):
        super().__init__()
        layers = _layers()
        if torch.get_default_device().type != "meta":
            layers.load_state_dict(_chosen(layers, read_weights(weights), weights), assign=True)
        ends = [0, *(tap + 1 for tap in _taps(layers))]
        self.stages = nn.ModuleList(layers[start:end] for start, end in pairwise(ends))
        # No part of checkpoints, as the frozen weights are not.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "VGGFeatures":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Features (N, 64, H, W), (N, 128, H / 2, W / 2), ..., (N, 512, H / 16, W / 16) of (N, 3, H, W) in [0, 1]."""
        x = ((frames - self.mean) / self.std).to(next(self.parameters()).dtype)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def read_weights(weights: str | Path) -> dict[str, Tensor]:
    """All tensors of a file, a folder or a hub name, on the CPU, in the shapes and names they have there.

    Raises:
        WeightsError: it cannot be found or read.
    """
    path = _file(weights)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            # What is not read is not loaded: most of the file is the classifier.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # what a damaged file raises is of any kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights ({reason}; it may be cut short); {WHERE}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a state dict of tensors; {WHERE}")
    return state


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


def _chosen(layers: nn.Sequential, state: dict[str, Tensor], weights: str | Path) -> dict[str, Tensor]:
    """What the layers want, from a whole network's tensors. Raises WeightsError where something does not fit."""
    chosen = {}
    for name, wanted in layers.state_dict().items():
        found = state.get(f"features.{name}")
        if found is None or found.shape != wanted.shape:
            there = "is missing" if found is None else f"is {tuple(found.shape)}"
            raise WeightsError(
                f"'{weights}' does not hold VGG-19: features.{name} {there}, and should be {tuple(wanted.shape)} "
                f"(its tensors begin with {', '.join(list(state)[:3]) or 'nothing'}); {WHERE}"
            )
        # A copy: a file that is mapped into memory may change.
        chosen[name] = found.to(torch.get_default_device(), torch.float32, copy=True)
    return chosen


def _file(weights: str | Path) -> Path:
    """The file of weights, downloaded where a name is given."""
    path = Path(weights).expanduser()
    if path.is_dir():
        inside = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).is_file()]
        if not inside:
            raise WeightsError(f"there is no model.safetensors in the folder {path}; {WHERE}")
        return inside[0]
    if path.is_file():
        return path
    # A path that does not exist would be asked for on the hub, with a message about repository names.
    if str(weights).startswith((".", "/", "~")) or path.suffix in _ENDINGS:
        raise WeightsError(f"there is no file {path} with weights of VGG-19; {WHERE}")
    return _download(str(weights))


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository = name.removeprefix("hf-hub:").removeprefix("hf_hub:")
    repository = repository if "/" in repository else f"timm/{repository}"
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"weights of VGG-19 '{name}' cannot be downloaded ({str(error).splitlines()[0]}); {WHERE}"
        ) from error
