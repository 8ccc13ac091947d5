"""Perceptual distance of pictures: LPIPS."""

from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from metrics.frames import MeanOverFrames, pair_frames
from metrics.sources import Sourced, source_of, yardstick
from pretrained.weights import Published, find_file, load_state, read_state

ALEXNET: Final = Published(
    "AlexNet of ImageNet",
    ("alexnet-owt-7be5be79.pth",),
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
VGG16: Final = Published(
    "VGG-16 of ImageNet",
    ("vgg16-397923af.pth",),
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
)
_BACKBONES: Final = {"alex": ALEXNET, "vgg": VGG16}
_SMALLEST: Final = 32  # pixels: below, AlexNet has nothing left to pool


def lpips_network(weights: str | Path, net: Literal["alex", "vgg"] = "alex") -> nn.Module:
    """LPIPS 0.1 of Zhang et al. with a backbone's weights: two pictures (N, 3, H, W) in [-1, 1] to (N, 1, 1, 1).

    The linear heads are the authors' (`lpips/weights/v0.1`) and come with torchmetrics.

    Args:
        weights: torchvision's file of the backbone, a folder that holds it, or a hub name.
        net: `alex` or `vgg`.

    Raises:
        ConfigError: no such file, or another network's.
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    if net not in _BACKBONES:
        raise ValueError(f"net={net}: LPIPS is defined with {' or '.join(_BACKBONES)}")
    published = _BACKBONES[net]
    path, source = find_file(weights, published)
    state = {name: value for name, value in read_state(path, published).items() if name.startswith("features.")}
    network = _LPIPS(pretrained=True, net=net, pnet_rand=True)
    # torchmetrics cuts the backbone into slices whose layers keep their numbers.
    slices = {name.split(".")[1]: name.split(".")[0] for name in network.net.state_dict()}
    renamed = {_in_slice(name, slices): value for name, value in state.items()}
    load_state(network.net, renamed, path, published)
    return yardstick(network, source)


class LPIPS(Sourced, MeanOverFrames):
    """Learned perceptual distance of each frame to the true one, then mean over all frames (IM-19); lower is better.

    LPIPS = sum over layers of the mean over positions of w . (f - g)^2, f and g the layer's features scaled to length
    1 over channels, w the learned heads (Zhang et al. 2018, version 0.1). Frames keep their size.

    Args:
        network: `lpips_network(...)`, or what it takes as `weights`.
        net: backbone when weights are given: `alex` (the usual figure) or `vgg`. Figures of the two cannot be compared.
        batch: frames at once.
    """

    higher_is_better = False

    def __init__(self, network: nn.Module | str | Path, net: Literal["alex", "vgg"] = "alex", batch: int = 16) -> None:
        super().__init__()
        self.network = network if isinstance(network, nn.Module) else lpips_network(network, net)
        self.source = source_of(self.network)
        self.figure = f"LPIPS ({getattr(self.network, 'pnet_type', net)})"
        self.batch = batch

    @torch.no_grad()
    def update(self, generated: Tensor, truth: Tensor) -> None:
        """Add a clip: (T, 3, H, W) each, uint8 or float in [0, 1], 32 pixels or more each way."""
        generated, truth = pair_frames(generated, truth)
        if min(generated.shape[-2:]) < _SMALLEST:
            raise ValueError(f"LPIPS needs frames of {_SMALLEST} pixels or more; these are {tuple(generated.shape)}")
        for one, other in zip(generated.split(self.batch), truth.split(self.batch), strict=True):
            distances = self.network(one.to(self.device), other.to(self.device), normalize=True)
            self._add(distances.reshape(len(one)))


def _in_slice(name: str, slices: dict[str, str]) -> str:
    _, number, rest = name.split(".", 2)
    return f"{slices.get(number, 'slice?')}.{number}.{rest}"
