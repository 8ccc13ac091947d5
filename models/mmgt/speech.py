"""Speech features as SMGA reads them (MMGT-6)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def join_speech(handcrafted: Tensor, layers: Tensor | None = None) -> Tensor:
    """The 35 hand-crafted features, with those of a pretrained model behind them where there are any (MMGT-6).

    Args:
        handcrafted: (B, T, 35) at the video's rate.
        layers: (B, L, S, C) at 50 Hz over the same time; their mean over layers is brought to T frames by linear
            interpolation.

    Returns:
        (B, T, 35) or (B, T, 35 + C).
    """
    if layers is None:
        return handcrafted
    frames = F.interpolate(
        layers.float().mean(1).transpose(1, 2), size=handcrafted.shape[1], mode="linear", align_corners=False
    )
    return torch.cat([handcrafted, frames.transpose(1, 2)], -1)
