"""Speech around a frame to that frame's tokens (MMGT-18)."""

from typing import Any, Final

import torch
from torch import Tensor, nn

HANDCRAFTED: Final = 35


class AudioProjection(nn.Module):
    """Speech features of the frames -m .. +m, all layers of them, to tokens (Xu et al. 2024, Hallo).

    Args:
        layers: of the speech network.
        channels: of each layer; 35 is the hand-crafted features, normalised by the statistics of the data.
        context: m, frames on either side.
        tokens: how many a frame gets.
        output: channels of a token.
        width: hidden channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: int, channels: int, context: int, tokens: int, output: int, width: int):
        super().__init__()
        self.shape = (2 * context + 1, layers, channels)
        self.tokens = tokens
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.project = nn.Sequential(
            nn.Linear((2 * context + 1) * layers * channels, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, tokens * output),
        )
        self.norm = nn.LayerNorm(output)

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take the moments of hand-crafted features from those of `index.json`; other features stay as they are."""
        if len(self.mean) == HANDCRAFTED:
            self.mean.copy_(torch.as_tensor(statistics["handcrafted"]["mean"]))
            self.std.copy_(torch.as_tensor(statistics["handcrafted"]["std"]))

    def forward(self, audio: Tensor) -> Tensor:
        """(B, T, 2 m + 1, L, A) to tokens (B, T, K, D).

        Raises:
            ValueError: another context, other layers or channels.
        """
        if audio.shape[2:] != self.shape:
            raise ValueError(
                f"audio has to be (B, T, {', '.join(map(str, self.shape))}): frames of context, layers, channels; "
                f"got {tuple(audio.shape)}"
            )
        normal = (audio - self.mean) / self.std
        if len(self.mean) == HANDCRAFTED:
            normal = normal.clamp(-10, 10)
        return self.norm(self.project(normal.flatten(2)).unflatten(-1, (self.tokens, -1)))
