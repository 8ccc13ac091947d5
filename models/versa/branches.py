"""The two transformers of the same shape, over text and over speech (VA-6)."""

from typing import Final, cast

import torch
from torch import Tensor, nn

from models.layers.transformer import EncoderLayer, normalise
from models.versa.audio import AudioTokens
from models.versa.spans import FARTHEST

FREQUENCIES: Final = 16  # of the sines that say where a token stands in its span


class Branch(nn.Module):
    """A transformer over motion tokens, some of them hidden, and a condition at each of them (VA-6).

    Args:
        codes: entries of the codebook; one more is the mask token.
        width: channels.
        layers: number of layers.
        heads: attention heads.
        feedforward: hidden channels of feed-forwards.
    """

    def __init__(self, codes: int, width: int, layers: int, heads: int, feedforward: int):
        super().__init__()
        self.embed = nn.Embedding(codes + 1, width)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.places = nn.Linear(4 * FREQUENCIES, width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feedforward) for _ in range(layers))
        self.head = nn.Linear(width, codes)

    def begin(self, tokens: Tensor, condition: Tensor, places: Tensor) -> Tensor:
        """Tokens (B, N), condition (B, N, W) and `sines` of places to the first layer's input (B, N, W)."""
        return self.embed(tokens) + condition + self.places(places.to(self.places.weight.dtype))

    def predict(self, x: Tensor) -> Tensor:
        """The last layer's output (B, N, W) to logits of the codes (B, N, codes): the linear layer of Eq. 1."""
        return self.head(normalise(x))

    def start_as_nothing(self, other: "Branch") -> None:
        """Begin such that the sum with another branch is that branch, and predict what it predicts (ours)."""
        silent: list[nn.Module] = [self.embed, self.places]
        for layer in self.layers:
            block = cast(EncoderLayer, layer)
            silent += [block.attention.out, block.feedforward.outer]
        for module in silent:
            for p in module.parameters():
                nn.init.zeros_(p)
        self.head.load_state_dict(other.head.state_dict())


class TextBranch(Branch):
    """The text-to-motion transformer: the condition of a token is the vector of the text that holds there.

    Args:
        encoder: texts, as the network reads them, to (K, W).
        sizes: as of `Branch`.
    """

    def __init__(self, encoder: nn.Module, codes: int, width: int, layers: int, heads: int, feedforward: int):
        super().__init__(codes, width, layers, heads, feedforward)
        self.encoder = encoder
        self.no_text = nn.Parameter(torch.randn(1, width) * 0.02)

    def condition(self, text: Tensor, which: Tensor) -> Tensor:
        """Texts (K, ...) and which of them holds (B, N), -1 where none does, to (B, N, W)."""
        return torch.cat([self.no_text, self.encoder(text)])[which + 1]


class AudioBranch(Branch):
    """The audio-to-motion transformer: the condition of a token is the speech around it.

    Args:
        audio: speech features to one vector a token.
        sizes: as of `Branch`.
    """

    def __init__(self, audio: AudioTokens, codes: int, width: int, layers: int, heads: int, feedforward: int):
        super().__init__(codes, width, layers, heads, feedforward)
        self.audio = audio

    def start_as_nothing(self, other: Branch) -> None:
        super().start_as_nothing(other)
        for p in self.audio.outer.parameters():
            nn.init.zeros_(p)


def sines(places: Tensor) -> Tensor:
    """Places (..., 2) in tokens as sines and cosines (..., 4 F) of waves from 128 tokens down to 4."""
    waves = 2 * FARTHEST * (2.0 ** -torch.linspace(0, 5, FREQUENCIES, device=places.device))
    angles = places.clamp(0, FARTHEST)[..., None] * (2 * torch.pi / waves)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
