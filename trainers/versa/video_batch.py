"""What of a batch goes into VersaAnimator's video network: the picture, drawn poses, whose face, what it does."""

from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from models.human.expressions import EXPRESSIONS
from models.versa.video.conditions import UNKNOWN, VersaInputs
from models.versa.video.network import VersaVideo
from models.versa.video.pose_picture import draw_pose_pictures
from models.video.speech import windows_at
from settings import ConfigError
from trainers.video.batch import Picked, image_tokens, speech_of

EXPRESSION: Final = "expression"
"""Field of clip.json's `extra` that labels a clip."""


def inputs_of(
    batch: Any, network: VersaVideo, picked: Picked, reference: Tensor, pose: Tensor, augmentation: Tensor
) -> VersaInputs:
    """What the network is told of the picked frames.

    Args:
        batch: windows.
        network: whose options say what it reads.
        picked: the frames.
        reference: (B, C, h, w) latents of the reference pictures, scaled, with the noise that `augmentation` tells of.
        pose: (B, T + 1, 134, 3) as `LatentStage.poses` gives them.
        augmentation: (B,) strength of that noise.
    """
    height, width = (network.downscaling * side for side in reference.shape[-2:])
    rows = torch.arange(len(pose), device=pose.device)
    inputs = VersaInputs(
        reference=reference,
        image=image_tokens(batch, network)[rows, picked.reference][:, None] if network.image_channels else None,
        skeletons=draw_pose_pictures(pose[:, :-1], height, width, network.head),
        augmentation=augmentation,
    )
    if not network.face_attention:
        return inputs
    return replace(
        inputs,
        identity=batch.arrays["identity"]["embedding"][rows, picked.reference].float(),
        audio=windows_at(speech_of(batch, network), picked.frames, network.audio_context),
        expression=expressions_of(batch, network, picked.frames),
        blink=blinks_of(batch, picked.frames),
    )


def expressions_of(batch: Any, network: VersaVideo, frames: Tensor) -> Tensor:
    """Numbers of the labels of frames (B, T) by number in their windows, (B, T) int64; -1 where none is known.

    They are those of a classifier where the batch has expression.npz; else a clip is labelled whole, by `expression` in
    its manifest's `extra`.

    Raises:
        ConfigError: a label of a manifest that the network does not know.
    """
    if "expression" in batch.arrays:
        rows = torch.arange(len(frames), device=frames.device)[:, None]
        labels = batch.arrays["expression"]["labels"][rows, frames].long()
        own = [network.expressions.index(label) if label in network.expressions else UNKNOWN for label in EXPRESSIONS]
        return torch.tensor([*own, UNKNOWN], device=labels.device)[labels]  # the last is that of -1
    numbers = torch.full_like(frames, UNKNOWN)
    for row, info in enumerate(batch.infos):
        label = info.extra.get(EXPRESSION)
        if label is None:
            continue
        if label not in network.expressions:
            raise ConfigError(
                f"clip {info.id} is labelled {EXPRESSION}={label}, but stage.network.expressions has "
                f"{', '.join(network.expressions)}: add the label there, or mend it in the manifest"
            )
        numbers[row] = network.expression(label)
    return numbers


def blinks_of(batch: Any, frames: Tensor) -> Tensor:
    """Height of the eyes over their width in frames (B, T) by number in their windows; -1 where no face was found."""
    rows = torch.arange(len(frames), device=frames.device)[:, None]
    blink, scores = (batch.arrays["face"][name][rows, frames] for name in ("blink", "scores"))
    return torch.where(scores > 0, blink, UNKNOWN)
