"""The Inception-v3 that FID is defined by."""

from pathlib import Path
from typing import Final

from torch import Tensor, nn

from pretrained.frozen import freeze
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
        path, self.source = find_file(weights, INCEPTION)
        read_state(path, INCEPTION)  # torch-fidelity runs whatever code a file holds; this one refuses it
        try:
            self.extractor = FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)], str(path))
        except RuntimeError as error:
            raise another_network(error, path, INCEPTION) from None
        freeze(self)

    def forward(self, frames: Tensor) -> Tensor:
        return self.extractor(frames)[0]
