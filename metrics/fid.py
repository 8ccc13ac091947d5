"""Frechet distance between generated and true pictures: FID."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from metrics.frames import as_bytes
from metrics.frechet import FrechetDistance
from metrics.sources import Sourced, source_of, yardstick
from pretrained.weights import Published, another_network, find_file, read_state
from settings import ConfigError

INCEPTION: Final = Published(
    "Inception-v3 of the original FID",
    ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth "
    "(torch-fidelity's weights-inception-2015-12-05-6726825d.pth is the same file)",
)
FEATURES: Final = 2048


class Inception(nn.Module):
    """The FID's Inception-v3: uint8 frames (N, 3, H, W) to features (N, 2048).

    torch-fidelity's, which has the quirks of the TensorFlow graph that FID was defined with: average pooling that does
    not count the padding, a max pooling in the last block, and TensorFlow 1's bilinear resize to 299 x 299.

    Args:
        weights: the file, a folder that holds it, or a hub name.

    Raises:
        ConfigError: no such file, another network's, or torch-fidelity is not installed.
    """

    features = FEATURES

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        try:
            from torch_fidelity import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ConfigError(f"FID needs torch-fidelity: pip install torch-fidelity ({error})") from None
        path, source = find_file(weights, INCEPTION)
        read_state(path, INCEPTION)  # torch-fidelity runs whatever code a file holds; this one refuses it
        try:
            self.extractor = FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)], str(path))
        except RuntimeError as error:
            raise another_network(error, path, INCEPTION) from None
        yardstick(self, source)

    def forward(self, frames: Tensor) -> Tensor:
        return self.extractor(frames)[0]


class FID(Sourced, FrechetDistance):
    """Frechet Inception Distance over single frames (IM-19); lower is better.

    `FrechetDistance` on the 2048 pooled features of the original Inception-v3, frames rounded to 8 bits. With few
    frames the figure is biased upwards: give numbers of frames beside it, and compare only equal ones.

    Args:
        network: `Inception(...)`, or what it takes as `weights`; or any module from uint8 frames (N, 3, H, W) to
            (N, D) with an attribute `features` D.
        batch: frames at once.
    """

    figure = "FID"

    def __init__(self, network: nn.Module | str | Path, batch: int = 32) -> None:
        encoder: Any = network if isinstance(network, nn.Module) else Inception(network)
        super().__init__(int(encoder.features))
        self.network = encoder
        self.source = source_of(encoder)
        self.batch = batch

    @torch.no_grad()
    def update(self, frames: Tensor, generated: bool) -> None:  # type: ignore[override]
        """Add the frames of a clip, (T, 3, H, W) uint8 or float in [0, 1], to one side."""
        for some in as_bytes(frames).split(self.batch):
            super().update(self.network(some.to(self.device)), generated)
