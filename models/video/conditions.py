"""What a latent video network is told beside the noisy latents, before and behind its encoders."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

NAMES = ("reference", "pose", "audio")
"""Conditions that can be left out, in the order in which guidance puts them on one another. The reference's embedding
belongs to the reference."""


@dataclass(frozen=True)
class VideoInputs:
    """What goes in, before any network has seen it. None is the null of a condition.

    Attributes:
        reference: (B, C, h, w) scaled latents of the reference picture.
        image: (B, K, A) the image encoder's tokens of it.
        skeletons: (B, T, 3, H, W) drawn poses in [0, 1].
        reference_skeleton: (B, 3, H, W) that of the reference picture.
        audio: (B, T, 2 m + 1, L, A) speech of the frames around each frame, by layer.
        masks: (B, T, 3, H, W) motion masks in [0, 1]: face and hands, lips, background. None is one everywhere.
    """

    reference: Tensor
    image: Tensor | None = None
    skeletons: Tensor | None = None
    reference_skeleton: Tensor | None = None
    audio: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class VideoConditions:
    """What the denoising network takes: made once, used at every step of sampling.

    Attributes:
        reference: (B, h w, c) hidden states of the reference network, by the place of the attention that reads them.
        image: (B, K, D) tokens of the reference picture.
        pose: (B, T, c, h, w) what is added after the first convolution.
        audio: (B, T, K, D) tokens of each frame's speech.
        masks: (B, T, 3, h, w) by "hxw", the size of a level. Where it is empty they are one everywhere.
    """

    reference: Mapping[str, Tensor]
    image: Tensor
    pose: Tensor | None
    audio: Tensor | None
    masks: Mapping[str, Tensor]


def joined(before: VideoConditions, after: VideoConditions, shared: int) -> VideoConditions:
    """Conditions of the last so many frames of one window, and of the frames behind it, of the same picture."""

    def both(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old[:, old.shape[1] - shared :], new], 1)

    return replace(
        after,
        pose=None if before.pose is None or after.pose is None else both(before.pose, after.pose),
        audio=None if before.audio is None or after.audio is None else both(before.audio, after.audio),
        masks={size: both(before.masks[size], mask) for size, mask in after.masks.items()},
    )
