"""Frames as they come from a video to the frozen base network's features."""

from typing import Final

import torch
from torch import Tensor

from models.implicit_motion.base import ImplicitMotion

AT_ONCE: Final = 64  # frames that are encoded together


@torch.no_grad()
def motion_of(base: ImplicitMotion, frames: Tensor, at_once: int = AT_ONCE) -> Tensor:
    """Frames (N, 3, S, S) uint8 to motion features (N, 768) float32 (IM-4)."""
    return torch.cat([base.encode_motion(_pixels(part)) for part in frames.split(at_once)]).float()


@torch.no_grad()
def appearance_of(base: ImplicitMotion, images: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) uint8 to F_A (B, A) float32 (IM-3)."""
    return base.encode_appearance(_pixels(images)).float()


def _pixels(frames: Tensor) -> Tensor:
    """Floats in [0, 1]; in one order in memory, because another one is added up in another order."""
    return frames.contiguous().float() / 255
