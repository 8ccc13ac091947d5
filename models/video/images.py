"""The image encoder of latent video: what CLIP sees in a picture."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's pictures, which all published CLIP networks are trained with."""


class ImageEncoder(nn.Module):
    """Frames to CLIP's embeddings.

    The whole frame is brought to the network's square, whatever its shape, as the family's released code does it: a
    square from the middle would leave out the head of an upright picture.

    Args:
        network: transformers' CLIPVisionModelWithProjection.
        mean, std: of each colour, which pictures are normalised by.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float] = MEAN, std: Sequence[float] = STD):
        super().__init__()
        self.network = network
        config: Any = network.config
        self.side, self.channels = int(config.image_size), int(config.projection_dim)
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (..., 3, H, W) uint8 to embeddings (..., A), A = `channels`."""
        flat = frames.flatten(0, -4).contiguous().to(self.mean.device).float() / 255
        # Antialiasing wants no more than a picture that becomes smaller has; clamped, as a picture of 8 bits is.
        square = F.interpolate(flat, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        pixels = (square - self.mean) / self.std
        embedded = self.network(pixel_values=pixels.to(next(self.network.parameters()).dtype)).image_embeds
        return embedded.unflatten(0, frames.shape[:-3])
