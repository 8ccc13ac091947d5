"""What drives a video of MMGT's second stage: a picture once, then poses, masks and speech a window at a time."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.mmgt.video import MMGTVideo
from models.mmgt.video_generate import Driving, VideoSource
from models.video.masks import masks_of, motion_masks
from models.video.skeletons import draw_skeletons
from models.video.speech import audio_windows
from trainers.stage.latents import Latents


def picture_source(
    network: MMGTVideo,
    latents: Latents,
    picture: np.ndarray,
    person: np.ndarray,
    frames: int,
    poses: np.ndarray | None = None,
    speech: Tensor | None = None,
    image: Tensor | None = None,
) -> VideoSource:
    """What a video is made from; all is drawn when its window is made, so that memory does not grow with the length.

    Args:
        network: that is told.
        latents: its autoencoder.
        picture: (H, W, 3) uint8 RGB, of the size that the video shall have.
        person: (134, 3) the pose of the person in it.
        frames: of the video.
        poses: (T, 134, 3) to follow, at least so many frames; None leaves poses out and holds the masks of the picture.
        speech: (F, L, A) features of frames, from the first on; None leaves speech out.
        image: (1, A) the image encoder's embedding of the picture; None where the network reads none.
    """
    device = next(network.parameters()).device
    size = picture.shape[:2]
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].to(device)
    own = torch.from_numpy(np.ascontiguousarray(person, np.float32)).to(device)[None]
    followed = None if poses is None else torch.from_numpy(np.ascontiguousarray(poses, np.float32))

    def padded(pictures: Tensor, value: float = 0.0) -> Tensor:
        """Pictures (N, C, H, W) of the size that latents stand for: more rows below, more columns at the right."""
        below, right = (-side % network.downscaling for side in size)
        return F.pad(pictures, (0, right, 0, below), value=value) if below or right else pictures

    def drive(begin: int, end: int) -> Driving:
        shown = None if followed is None else followed[begin:end].to(device)
        if shown is None or network.masks == "still":
            masks = motion_masks(own, *size).expand(end - begin, -1, -1, -1)
        else:
            masks = motion_masks(shown, *size)
        masks = torch.cat([padded(masks[:, :2]), padded(masks[:, 2:], 1.0)], 1)[None]
        audio = None
        if speech is not None:
            audio = audio_windows(speech[None], begin, end - begin, network.audio_context).float().to(device)
        return Driving(
            skeletons=None if shown is None else padded(draw_skeletons(shown, *size))[None],
            audio=audio,
            masks=masks_of("none", masks) if network.masks == "none" else masks,
        )

    return VideoSource(
        frames=frames,
        reference=latents.of_pictures(pixels),
        drive=drive,
        image=None if image is None else image.to(device)[None],
        reference_skeleton=padded(draw_skeletons(own, *size)) if network.reference_pose else None,
    )
