"""Videos of any length from MMGT's second stage, as latents: windows that hold on to one another (MMGT-20, MMGT-22)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.diffusion.chaining import NoiseTape, windows
from models.diffusion.guiders.regional import Sampling
from models.mmgt.video import MMGTVideo
from models.mmgt.video_sample import sample_window
from models.video.conditions import VideoInputs, joined
from models.video.network import check_known


@dataclass(frozen=True)
class Driving:
    """What drives some frames; None leaves a condition out of the whole video (MMGT-22).

    Attributes:
        skeletons: (B, n, 3, H, W) drawn poses in [0, 1].
        audio: (B, n, 2 m + 1, L, A) speech around each frame.
        masks: (B, n, 3, H, W) motion masks, as the network was trained with them (`masks_of`).
    """

    skeletons: Tensor | None = None
    audio: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class VideoSource:
    """What a video is made from.

    Attributes:
        frames: how many it gets.
        reference: (B, C, h, w) scaled latents of the picture.
        drive: gives what drives the frames from the first number to, not including, the second; asked once for each.
        image: (B, K, A) the image encoder's tokens of the picture.
        reference_skeleton: (B, 3, H, W) its drawn pose, for a network with `reference_pose`.
    """

    frames: int
    reference: Tensor
    drive: Callable[[int, int], Driving]
    image: Tensor | None = None
    reference_skeleton: Tensor | None = None


@torch.no_grad()
def generate_latents(
    network: MMGTVideo,
    source: VideoSource,
    *,
    steps: int | None = None,
    guidance: Mapping[str, float] | None = None,
    seed: int = 0,
    window: int | None = None,
    overlap: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[Tensor]:
    """Latents of a video, in pieces (B, C, n, h, w) as they become final, so that memory does not grow with the length.

    They are not scaled: the decoder takes them as they are. The reference network sees the picture once, the pose
    guider and the audio projection each frame once, whatever `steps` is. A window holds on to the end of the one
    before: in every step the predicted x0 of the frames they share is what was made of them, and both start from the
    same noise there. The picture stays the reference of all windows.

    Args:
        network: runs where its weights are.
        source: the picture, and what drives the video; tensors on the network's device.
        steps: sampling steps; None takes the network's.
        guidance: weights by condition ("reference", "pose", "audio"); those that are not given are the network's.
        seed: the same seed gives the same video; in a batch each draws from a stream of its own.
        window: frames at once; None takes the network's.
        overlap: frames that a window shares with the one before; None is a quarter of the window.
        sampling: guidance by classifiers; None samples plainly.

    Raises:
        ValueError: no frames, a window longer than the network knows, an overlap not smaller than the window, or an
            unknown condition.
    """
    window = window or network.window
    weights = _weights(network, guidance or {})
    _check(network, source, window)
    training = network.training
    network.eval()
    try:
        size, channels, height, width = source.reference.shape
        noises = NoiseTape(seed, size, channels * height * width)
        conditions, latents, done = None, None, 0
        for begin, end in windows(source.frames, window, overlap):
            shared = done - begin
            fresh = source.drive(done, end)
            inputs = VideoInputs(
                source.reference, source.image, fresh.skeletons, source.reference_skeleton, fresh.audio, fresh.masks
            )
            encoded = network.encode(inputs, conditions)
            conditions = encoded if conditions is None else joined(conditions, encoded, shared)
            noise = noises.read(begin, end).to(source.reference)
            noise = noise.unflatten(-1, (channels, height, width)).transpose(1, 2)
            known = None if latents is None or not shared else latents[:, :, -shared:]
            guided = None if sampling is None else partial(sampling, begin=begin, end=end)
            latents = sample_window(
                network, conditions, noise, steps=steps, guidance=weights, known=known, sampling=guided
            )
            yield latents[:, :, shared:] / network.latent_scale
            done = end
    finally:
        network.train(training)


def _weights(network: MMGTVideo, given: Mapping[str, float]) -> dict[str, float]:
    check_known(given, network.guidance)
    return {**network.guidance, **given}


def _check(network: MMGTVideo, source: VideoSource, window: int) -> None:
    if source.frames < 1:
        raise ValueError("the video has no frames: there is nothing to generate")
    if window > network.motion_frames:
        raise ValueError(
            f"a window of {window} frames, but temporal attention has positions for {network.motion_frames}: longer "
            "videos are made of several windows"
        )
