"""What VersaAnimator's video network is told beside the noisy latents, before and behind its encoders."""

from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

FACE: Final = ("identity", "audio", "expression", "blink")
"""Conditions that the attention to the face reads (VA-14), in the order of their tokens."""
NAMES: Final = ("reference", "pose", *FACE)
"""Conditions that can be left out, in the order in which guidance puts them on one another. The reference's embedding
belongs to the reference."""
_OF_FRAMES: Final = ("pose", "audio", "expression", "blink")
UNKNOWN: Final = -1
"""An expression or a blink ratio that nobody knows, of a frame."""


@dataclass(frozen=True)
class VersaInputs:
    """What goes in, before any network has seen it. None is the null of a condition.

    Attributes:
        reference: (B, C, h, w) scaled latents of the reference picture, with the noise that `augmentation` tells of.
        image: (B, 1, A) the image encoder's token of it.
        skeletons: (B, T, 3, H, W) poses as `draw_pose_pictures` draws them (VA-12).
        identity: (B, A) a face network's embedding of the reference's face; zeros where there is none (VA-13).
        audio: (B, T, 2 m + 1, L, A) speech of the frames around each frame, by layer.
        expression: (B, T) int64 number of a label; -1 where it is unknown.
        blink: (B, T) height of the eyes over their width, as face.npz has it: some 0.3 open, less than 0.15 shut; less
            than 0 where it is unknown.
        augmentation: (B,) strength of the noise on the reference; none where None.
        motion: (B,) SVD's motion bucket, 0 to 255; the network's own where None.
    """

    reference: Tensor
    image: Tensor | None = None
    skeletons: Tensor | None = None
    identity: Tensor | None = None
    audio: Tensor | None = None
    expression: Tensor | None = None
    blink: Tensor | None = None
    augmentation: Tensor | None = None
    motion: Tensor | None = None


@dataclass(frozen=True)
class VersaConditions:
    """What the denoising network takes: made once, used at every step of sampling.

    Attributes:
        reference: (B, C, h, w) latents, not scaled, as SVD takes them.
        image: (B, 1, D) token of the reference picture.
        times: (B, 3) what SVD is told of time and noise: frames a second less one, motion bucket, noise.
        pose: (B, T, c, h, w) what is added to the output of the first convolution.
        identity: (B, K, D) tokens of the face.
        audio: (B, T, K, D) tokens of each frame's speech.
        expression: (B, T, 1, D) token of each frame's expression.
        blink: (B, T, 1, D) token of each frame's blink ratio.
    """

    reference: Tensor
    image: Tensor
    times: Tensor
    pose: Tensor | None = None
    identity: Tensor | None = None
    audio: Tensor | None = None
    expression: Tensor | None = None
    blink: Tensor | None = None


def frames_of(conditions: VersaConditions, frames: slice) -> VersaConditions:
    """Conditions of some of their frames."""
    found = {name: getattr(conditions, name) for name in _OF_FRAMES}
    picked: Any = {name: None if each is None else each[:, frames] for name, each in found.items()}
    return replace(conditions, **picked)


def joined(*parts: VersaConditions) -> VersaConditions:
    """Conditions of the frames of several, one behind another, of the same picture."""
    found = {name: [getattr(part, name) for part in parts] for name in _OF_FRAMES}
    there: Any = {
        name: None if any(each is None for each in found[name]) else torch.cat(found[name], 1) for name in found
    }
    return replace(parts[-1], **there)
