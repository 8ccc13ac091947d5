"""A further cross-attention in a block of a UNet that stands already."""

from typing import Any

from diffusers.models.attention_processor import Attention
from torch import nn


class AddedAttention(nn.Module):
    """A norm and a cross-attention whose last layer starts at zero: what it adds is nothing until it is trained.

    Args:
        channels: of the hidden states.
        heads: attention heads.
        token_channels: of the tokens that are attended to.
    """

    def __init__(self, channels: int, heads: int, token_channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, token_channels, heads=heads, dim_head=channels // heads)
        output: Any = self.attention.to_out[0]  # type: ignore[index]
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
