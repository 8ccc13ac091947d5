"""What a video of VersaAnimator is made from: a picture once, then poses, speech and face a window at a time."""

import numpy as np
import torch
from torch import Tensor

from models.versa.video.generate import VersaDriving, VersaSource
from models.versa.video.network import VersaVideo
from models.versa.video.pose_picture import draw_pose_pictures
from models.video.speech import audio_windows
from trainers.stage.latents import Latents


def picture_source(
    network: VersaVideo,
    latents: Latents,
    picture: np.ndarray,
    frames: int,
    poses: np.ndarray | None = None,
    speech: Tensor | None = None,
    image: Tensor | None = None,
    identity: Tensor | None = None,
    expression: np.ndarray | None = None,
    blink: np.ndarray | None = None,
    motion_bucket: float | None = None,
) -> VersaSource:
    """What a video is made from; all is drawn when its window is made, so that memory does not grow with the length.

    What is None is left out: the network's null stands for it.

    Args:
        network: that is told.
        latents: its autoencoder.
        picture: (H, W, 3) uint8 RGB, of the size that the video shall have.
        frames: of the video.
        poses: (T, 134, 3) to follow, at least so many frames.
        speech: (F, L, A) features of frames, from the first on.
        image: (1, A) the image encoder's embedding of the picture.
        identity: (1, A) a face network's embedding of the face; zeros where there is none.
        expression: (T,) number of a label; -1 where unknown.
        blink: (T,) height of the eyes over their width; -1 where unknown.
        motion_bucket: SVD's; None takes the network's own.
    """
    device = next(network.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].to(device)
    reference = latents.of_pictures(pixels)
    height, width = (network.downscaling * side for side in reference.shape[-2:])
    # Where latents stand for more than the picture, it is continued below and to the right.
    share = torch.tensor((picture.shape[1] / width, picture.shape[0] / height, 1.0))
    followed = None if poses is None else torch.from_numpy(np.ascontiguousarray(poses, np.float32)) * share
    hears = speech is not None and network.face_attention

    def drive(begin: int, end: int) -> VersaDriving:
        skeletons = audio = None
        if followed is not None:
            skeletons = draw_pose_pictures(followed[None, begin:end].to(device), height, width, network.head)
        if hears:
            assert speech is not None
            audio = audio_windows(speech[None], begin, end - begin, network.audio_context).float().to(device)
        return VersaDriving(skeletons, audio, part(expression, begin, end), part(blink, begin, end))

    def part(values: np.ndarray | None, begin: int, end: int) -> Tensor | None:
        there = values is not None and network.face_attention
        return torch.from_numpy(values[None, begin:end]).to(device) if there else None  # type: ignore[index]

    return VersaSource(
        frames=frames,
        reference=reference,
        drive=drive,
        image=None if image is None else image.to(device)[None],
        identity=None if identity is None else identity.float().to(device),
        motion=None if motion_bucket is None else torch.full((1,), float(motion_bucket), device=device),
    )
