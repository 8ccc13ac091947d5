"""VGG-19 with the weights that the field uses: the yardstick of perceptual losses."""

from pathlib import Path
from typing import Final

import torch

from models.losses.vgg import VGGFeatures
from pretrained.frozen import Frozen
from pretrained.hashes import tensors_hash
from pretrained.weights import Published, advice, locate, read_state
from settings import ConfigError

VGG19: Final = Published(
    "VGG-19 of ImageNet",
    ("model.safetensors", "pytorch_model.bin", "vgg19-dcbb9e9d.pth"),
    "",  # torchvision's file and timm's hold the same weights
    "give one of: torchvision's file (https://download.pytorch.org/models/vgg19-dcbb9e9d.pth, 574 MB); a folder or "
    "safetensors file made with `hf download timm/vgg19.tv_in1k --local-dir FOLDER`; or the name timm/vgg19.tv_in1k, "
    "which is downloaded once",
)


def vgg_features(weights: str | Path | None) -> Frozen[VGGFeatures]:
    """The five feature maps of VGG-19, frozen; its hash is that of its tensors, whatever file they come from.

    Args:
        weights: torchvision's file, timm's folder or file, or a name on the hub. On the meta device no file is read.

    Raises:
        ConfigError: the weights cannot be found or read, or are another network's; says where to get them.
    """
    if torch.get_default_device().type == "meta":
        return Frozen(VGGFeatures({}), "")
    if weights is None:
        raise ConfigError(f"the perceptual loss needs trained weights of VGG-19: {VGG19.where}; or take 'structural'")
    path = locate(_timms(str(weights)), VGG19)
    try:
        network = VGGFeatures(read_state(path, VGG19))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"'{weights}' does not hold VGG-19: {error}; {advice((VGG19,))}") from None
    return Frozen(network, tensors_hash(network))


def _timms(name: str) -> str:
    """The hub name that timm means: it lets owner and prefix be left out."""
    name = name.removeprefix("hf-hub:").removeprefix("hf_hub:")
    bare = "/" not in name and name.startswith("vgg19.") and not Path(name).exists()
    return f"timm/{name}" if bare else name
