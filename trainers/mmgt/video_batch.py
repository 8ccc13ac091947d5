"""What of a batch goes into MMGT's video networks: latents' places, drawn poses, masks, speech."""

from typing import Any

import torch
from torch import Tensor

from models.mmgt.video import MMGTVideo
from models.video.conditions import VideoInputs
from models.video.masks import masks_of, motion_masks, still
from models.video.skeletons import draw_skeletons
from models.video.speech import windows_at
from trainers.video.batch import Picked, image_tokens, speech_of


def inputs_of(
    batch: Any,
    network: MMGTVideo,
    picked: Picked,
    reference: Tensor,
    pose: Tensor,
    heard: bool,
    held: Tensor | None = None,
) -> VideoInputs:
    """What the network is told of the picked frames.

    Args:
        batch: windows.
        network: whose options say what it reads.
        picked: the frames.
        reference: (B, C, h, w) latents of the reference pictures, scaled.
        pose: (B, T + 1, 134, 3) as `poses_of` gives them.
        heard: whether there is speech, and masks for it.
        held: (B,) bool, true where masks stay as they are in the reference's frame.
    """
    height, width = (network.downscaling * side for side in reference.shape[-2:])
    frames, rows = picked.frames.shape[1], torch.arange(len(pose), device=pose.device)
    skeletons = draw_skeletons(pose if network.reference_pose else pose[:, :-1], height, width)
    audio = masks = None
    if heard:
        masks = motion_masks(pose, height, width)
        if held is not None:
            masks = torch.where(held[:, None, None, None, None], still(masks, frames), masks)
        masks = masks_of(network.masks, masks, frames)[:, :-1]
        if network.use_audio:
            audio = windows_at(speech_of(batch, network), picked.frames, network.audio_context)
    return VideoInputs(
        reference=reference,
        image=image_tokens(batch, network)[rows, picked.reference][:, None] if network.image_channels else None,
        skeletons=skeletons[:, :frames],
        reference_skeleton=skeletons[:, -1] if network.reference_pose else None,
        audio=audio,
        masks=masks,
    )
