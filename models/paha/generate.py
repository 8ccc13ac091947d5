"""Videos of any length from UniVDM, as latents: the last frame of a segment is the first of the next (PH-2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.regional import Sampling
from models.diffusion.samplers.ddim import DDIM
from models.paha.univdm import UniVDM, UniVDMInputs
from models.video.network import check_known


@dataclass(frozen=True)
class UniVDMSource:
    """What a video is made from.

    Attributes:
        frames: how many it gets.
        reference: (B, C, h, w) scaled latents of the picture.
        speech: gives (B, n, 2 m + 1, L, A), the speech of the frames from the first number to, not including, the
            second; None leaves speech out.
        image: (B, K, A) the image encoder's tokens of the picture.
        first: (B, C, h, w) scaled latents of the first frame, where it is given.
    """

    frames: int
    reference: Tensor
    speech: Callable[[int, int], Tensor] | None = None
    image: Tensor | None = None
    first: Tensor | None = None


def segments(frames: int, window: int) -> list[tuple[int, int]]:
    """Frames from .. to of the segments of a video; each begins with the frame that the one before has ended with.

    Raises:
        ValueError: a window of one frame, which would not go on.
    """
    if window < 2 and frames > window:
        raise ValueError(f"segments of {window} frame hold nothing but the frame they go on from; give 2 or more")
    found = [(0, min(window, frames))]
    while found[-1][1] < frames:
        begin = found[-1][1] - 1
        found.append((begin, min(begin + window, frames)))
    return found


@torch.no_grad()
def generate_latents(
    network: UniVDM,
    source: UniVDMSource,
    *,
    steps: int | None = None,
    guidance: Mapping[str, float] | None = None,
    seed: int | Sequence[int] = 0,
    window: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[Tensor]:
    """Latents of a video, in pieces (B, C, n, h, w) as they become final, so that memory does not grow with the length.

    They are not scaled: the decoder takes them as they are.

    Args:
        network: runs where its weights are.
        source: the picture, and its speech; tensors on the network's device.
        steps: sampling steps; None takes the network's.
        guidance: weights by condition ("reference", "audio"); those that are not given are the network's.
        seed: the same seed gives the same video; in a batch each draws from a stream of its own. Several are one each.
        window: frames of a segment; None takes the network's.
        sampling: guidance by classifiers; None samples plainly.

    Raises:
        ValueError: no frames, a segment longer than the network knows, or an unknown condition.
    """
    window, given = window or network.window, guidance or {}
    check_known(given, network.guidance)
    if source.frames < 1:
        raise ValueError("the video has no frames: there is nothing to generate")
    if window > network.motion_frames:
        raise ValueError(
            f"segments of {window} frames, but temporal attention has positions for {network.motion_frames}"
        )
    training = network.training
    network.eval()
    try:
        count = len(source.reference)
        seeds = range(seed, seed + count) if isinstance(seed, int) else seed
        streams = [torch.Generator().manual_seed(each) for _, each in zip(range(count), seeds, strict=True)]
        first = source.first
        for begin, end in segments(source.frames, window):
            audio = None if source.speech is None else source.speech(begin, end)
            inputs = UniVDMInputs(source.reference, source.image, audio, first)
            channels, height, width = source.reference.shape[1:]
            drawn = [torch.randn(channels, end - begin, height, width, generator=stream) for stream in streams]
            noise = torch.stack(drawn).to(source.reference)
            sampler = sampler_of(network, inputs, steps, given)
            latents: Tensor = (sampler.run if sampling is None else sampling(sampler, begin, end))(noise)
            if first is not None:
                latents = torch.cat([first[:, :, None], latents[:, :, 1:]], 2)
            yield latents[:, :, begin > 0 :] / network.latent_scale
            first = latents[:, :, -1]
    finally:
        network.train(training)


def sampler_of(
    network: UniVDM, inputs: UniVDMInputs, steps: int | None = None, guidance: Mapping[str, float] | None = None
) -> DDIM:
    """What brings noise (B, C, T, h, w) to scaled latents of one segment.

    Args:
        network: as a validation has it.
        inputs: what it is told; guidance is by those that are there.
        steps: sampling steps; None takes the network's.
        guidance: weights by condition; those that are not given are the network's.
    """
    weights = {**network.guidance, **(guidance or {})}
    if inputs.audio is None:
        del weights["audio"]

    def predict(x: Tensor, levels: Tensor, conditions: UniVDMInputs, left_out: Mapping[str, Tensor]) -> Tensor:
        output = network(x, levels, conditions, left_out).to(x.dtype)
        x0 = network.preconditioning.x0(output, x, network.noise.scales(levels, x))
        if conditions.first is None:
            return x0
        return torch.cat([conditions.first[:, :, None], x0[:, :, 1:]], 2)

    denoise = ClassifierFree(**weights).prepare(predict, inputs)
    return DDIM(denoise, network.noise, network.sampling_steps if steps is None else steps)
