"""What the attention to the face reads: who it is, what is said, the expression, how far eyes are shut (VA-14)."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.versa.video.conditions import FACE, VersaConditions

OPEN: Final = 0.3
"""Height of open eyes over their width."""


class FaceTokens(nn.Module):
    """Tokens of identity, speech, expression and blink ratio, and of each the one that stands for "not told".

    What is unknown in a frame, what was dropped in training, and what nobody gives at all are the same learned tokens.

    Args:
        identity_channels: of a face network's embedding.
        identity_tokens: that it becomes.
        audio_tokens: of a frame's speech.
        expressions: how many labels there are.
        channels: of a token.
    """

    def __init__(
        self, identity_channels: int, identity_tokens: int, audio_tokens: int, expressions: int, channels: int
    ):
        super().__init__()
        self.identity_channels, self.expressions, self.channels = identity_channels, expressions, channels
        self.identity = nn.Linear(identity_channels, identity_tokens * channels)
        self.identity_norm = nn.LayerNorm(channels)
        self.expression = nn.Embedding(expressions, channels)
        self.blink = nn.Sequential(nn.Linear(1, channels), nn.SiLU(), nn.Linear(channels, channels))
        counts = {"identity": identity_tokens, "audio": audio_tokens, "expression": 1, "blink": 1}
        self.nulls = nn.ParameterDict({name: torch.randn(counts[name], channels) for name in FACE})

    def of_identity(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, A), of any length, to tokens (B, K, D); zeros are no face.

        Raises:
            ValueError: another face network's.
        """
        if embedding.ndim != 2 or embedding.shape[1] != self.identity_channels:
            raise ValueError(
                f"identity has to be (B, {self.identity_channels}), as the face network that was trained with gives it "
                f"(identity_channels); got {tuple(embedding.shape)}"
            )
        known = embedding.any(1)
        direction = F.normalize(embedding, dim=1) * self.identity_channels**0.5  # numbers of about 1
        tokens = self.identity_norm(self.identity(direction).unflatten(1, (-1, self.channels)))
        return torch.where(known[:, None, None], tokens, self.nulls["identity"])

    def of_expression(self, labels: Tensor) -> Tensor:
        """Numbers of labels (B, T), less than 0 where unknown, to tokens (B, T, 1, D)."""
        tokens = self.expression(labels.clamp(min=0))
        return torch.where((labels >= 0)[..., None], tokens, self.nulls["expression"])[:, :, None]

    def of_blink(self, ratio: Tensor) -> Tensor:
        """Height of the eyes over their width (B, T), less than 0 where unknown, to tokens (B, T, 1, D)."""
        # From -1, shut, to 1, open as most eyes are.
        tokens = self.blink(2 / OPEN * ratio.clamp(0, 1)[..., None] - 1)
        return torch.where((ratio >= 0)[..., None], tokens, self.nulls["blink"])[:, :, None]

    def forward(self, conditions: VersaConditions, frames: int, left_out: Mapping[str, Tensor]) -> Tensor:
        """All tokens of frames, (B, T, K, D).

        Args:
            conditions: of the batch.
            frames: T.
            left_out: (B,) bool by name, true where the null stands for a condition.
        """
        size = len(conditions.reference)
        parts = []
        for name in FACE:
            null, tokens = self.nulls[name], getattr(conditions, name)
            if tokens is None:
                parts.append(null.expand(size, frames, -1, -1))
                continue
            if name == "identity":
                tokens = tokens[:, None].expand(-1, frames, -1, -1)
            if name in left_out:
                tokens = torch.where(left_out[name][:, None, None, None], null, tokens)
            parts.append(tokens)
        return torch.cat(parts, 2)
