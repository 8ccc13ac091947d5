"""The I3D that FVD is defined by."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from pretrained.frozen import freeze
from pretrained.weights import Published, advice, find_file
from settings import ConfigError

I3D_FILE: Final = Published(
    "I3D of Kinetics-400",
    ("i3d_torchscript.pt",),
    "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    "StyleGAN-V, https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
)
FEATURES: Final = 400


class I3D(nn.Module):
    """StyleGAN-V's TorchScript of the FVD's I3D: uint8 videos (N, T, 3, H, W) to its 400 logits (N, 400).

    The file scales to [-1, 1] and resizes to 224 x 224 by itself.

    Args:
        weights: the file, a folder that holds it, or a hub name.

    Raises:
        ConfigError: no such file, or no TorchScript.
    """

    features = FEATURES

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        path, self.source = find_file(weights, I3D_FILE)
        try:
            self.detector = torch.jit.load(str(path), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{path} is no TorchScript ({str(error).splitlines()[0]}); {advice((I3D_FILE,))}"
            ) from None
        freeze(self)

    def forward(self, videos: Tensor) -> Tensor:
        features = self.detector(
            videos.transpose(1, 2).float().contiguous(), rescale=True, resize=True, return_features=True
        )
        if tuple(features.shape) != (len(videos), FEATURES):
            raise ConfigError(
                f"{self.source.file} gives features {tuple(features.shape)} where I3D gives "
                f"({len(videos)}, {FEATURES}); {advice((I3D_FILE,))}"
            )
        return features
