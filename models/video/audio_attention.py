"""Speech in each block of a UNet: cross-attention whose result passes the masks of regions (MMGT-17)."""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from models.video.masks import REGIONS


class MaskedAudioAttention(nn.Module):
    """MM-HAA: what is heard is multiplied by each region's mask, adapted for each, and added up (Eq. 19-24).

        heard = CrossAttention(hidden, audio);  hidden + sum over regions of Conv_r(heard * mask_r)

    The convolutions start at zero, so an untrained module is the identity; they have no bias, so that a region says
    nothing where its mask is zero (both ours).

    Args:
        channels: of the hidden states.
        heads: attention heads.
        audio_channels: of the audio tokens; None attends to the hidden states themselves (MMGT-24).
    """

    def __init__(self, channels: int, heads: int, audio_channels: int | None):
        super().__init__()
        self.hears = audio_channels is not None
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, audio_channels, heads=heads, dim_head=channels // heads)
        adapters = [nn.Conv2d(channels, channels, 1, bias=False) for _ in REGIONS]
        for adapter in adapters:
            nn.init.zeros_(adapter.weight)
        self.adapters = nn.ModuleList(adapters)

    def forward(
        self, hidden: Tensor, audio: Tensor | None, masks: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        """Hidden states (N, c, h, w) of N frames to the same.

        Args:
            hidden: (N, c, h, w).
            audio: (N, K, A) each frame's tokens; not used by a module without audio.
            masks: (N, 3, h, w) at this level; None is one everywhere.
            keep: (N,) bool, false where nothing is added.
        """
        heard = self.attention(self.norm(hidden.flatten(2).transpose(1, 2)), audio if self.hears else None)
        heard = heard.transpose(1, 2).unflatten(-1, hidden.shape[-2:])
        refined = sum(
            (
                adapter(heard if masks is None else heard * masks[:, region, None])
                for region, adapter in enumerate(self.adapters)
            ),
            torch.zeros_like(hidden),
        )
        if keep is not None:
            refined = refined * keep[:, None, None, None]
        return hidden + refined
