"""Videos of any length from VersaAnimator's video network, as latents: windows that all show frame 0 (VA-11, VA-16)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from models.diffusion.chaining import NoiseTape, anchored_windows, streams
from models.diffusion.noise.augmentation import augmented
from models.versa.video.conditions import VersaConditions, VersaInputs, frames_of, joined
from models.versa.video.network import VersaVideo
from models.versa.video.sample import guidance_weights, sample_window


@dataclass(frozen=True)
class VersaDriving:
    """What drives some frames; None leaves a condition out of the whole video.

    Attributes:
        skeletons: (B, n, 3, H, W) poses as `draw_pose_pictures` draws them, with the network's `head`.
        audio: (B, n, 2 m + 1, L, A) speech around each frame.
        expression: (B, n) number of a label; -1 where unknown.
        blink: (B, n) height of the eyes over their width; -1 where unknown.
    """

    skeletons: Tensor | None = None
    audio: Tensor | None = None
    expression: Tensor | None = None
    blink: Tensor | None = None


@dataclass(frozen=True)
class VersaSource:
    """What a video is made from.

    Attributes:
        frames: how many it gets.
        reference: (B, C, h, w) scaled latents of the picture.
        drive: gives what drives the frames from the first number to, not including, the second; asked once for each.
        image: (B, 1, A) the image encoder's token of the picture.
        identity: (B, A) the face network's embedding of the picture's face; zeros where there is none.
        motion: (B,) SVD's motion bucket; None takes the network's.
    """

    frames: int
    reference: Tensor
    drive: Callable[[int, int], VersaDriving]
    image: Tensor | None = None
    identity: Tensor | None = None
    motion: Tensor | None = None


@torch.no_grad()
def generate_latents(
    network: VersaVideo,
    source: VersaSource,
    *,
    steps: int | None = None,
    guidance: Mapping[str, float | None] | None = None,
    seed: int = 0,
    window: int | None = None,
    overlap: int | None = None,
    augmentation: float | None = None,
) -> Iterator[Tensor]:
    """Latents of a video, in pieces (B, C, n, h, w) as they become final, so that memory does not grow with the length.

    They are not scaled: the decoder takes them as they are. What comes from the picture is encoded once, poses, speech
    and face of each frame once, whatever `steps` is. Frame 0 stands in front of every window, as it was made in the
    first (as the public code of pose-guided SVD does it, there for all windows together). Frames that a window shares
    with the one before go over from the one to the other by a triangle of weights, in every step.

    Args:
        network: runs where its weights are.
        source: the picture, and what drives the video; tensors on the network's device.
        steps: sampling steps; None takes the network's.
        guidance: weights by condition, and "first", that of the reference in frame 0; those that are not given are the
            network's.
        seed: the same seed gives the same video; in a batch each draws from a stream of its own.
        window: frames at once, frame 0 among them; None takes the network's.
        overlap: frames that a window shares with the one before; None is a quarter of the window.
        augmentation: strength of the noise on the reference; None takes the network's.

    Raises:
        ValueError: no frames, an overlap that leaves nothing new, an unknown condition or expression, or numbers that
            are none (NaN); says where.
    """
    window, weights = window or network.window, guidance_weights(network, guidance or {})
    _check(source)
    spans = anchored_windows(source.frames, window, overlap)
    training = network.training
    network.eval()
    try:
        size, channels, height, width = source.reference.shape
        noises = NoiseTape(seed, size, channels * height * width)
        start = _picture(network, source, seed, augmentation)
        conditions = anchor = latents = first = None
        done = final = 0
        for number, (begin, end) in enumerate(spans):
            fresh = _encode(network, source, start, conditions, done, end)
            noise = noises.read(begin, end).to(source.reference)
            noise = noise.unflatten(-1, (channels, height, width)).transpose(1, 2)
            frames = torch.arange(begin, end)
            if conditions is None or anchor is None or latents is None or first is None:
                conditions, anchor = fresh, frames_of(fresh, slice(0, 1))
                latents = sample_window(network, fresh, noise, steps=steps, guidance=weights)
                first = latents[:, :, :1], noise[:, :, :1]
            else:
                shared = done - begin
                conditions = joined(frames_of(conditions, slice(-shared, None)), fresh) if shared else fresh
                known = torch.cat([first[0], latents[:, :, latents.shape[2] - shared :]], 2)
                latents = sample_window(
                    network,
                    joined(anchor, conditions),
                    torch.cat([first[1], noise], 2),
                    steps=steps,
                    guidance=weights,
                    numbers=torch.cat([torch.zeros(1, dtype=torch.long), frames]),
                    first_window=spans[0][1],
                    known=known,
                    new=torch.cat([torch.zeros(1), _triangle(frames[:shared], final)]),
                )[:, :, 1:]
            done = end
            # What the next window shares is not final yet.
            kept = end if number + 1 == len(spans) else end - _overlap(window, overlap)
            yield latents[:, :, final - begin : kept - begin] / network.latent_scale
            final = kept
    finally:
        network.train(training)


def _overlap(window: int, overlap: int | None) -> int:
    """Frames that windows share, but for the last, which may share more."""
    return min(window // 4, max(0, window - 2)) if overlap is None else overlap


def _triangle(frames: Tensor, final: int) -> Tensor:
    """How far a window's own count in the frames that it shares (K,): not where they are final, then more and more."""
    count = int((frames >= final).sum())
    return ((frames - final + 0.5) / max(count, 1)).clamp(min=0)


def noised(reference: Tensor, strength: float, seed: int) -> tuple[Tensor, Tensor]:
    """A picture's latents (B, C, h, w) with noise on them, and its strength (B,), as sampling has both.

    Args:
        reference: scaled latents.
        strength: of the noise; 0 is none.
        seed: the same seed gives the same noise, other than that of frames.
    """
    told = torch.full((len(reference),), strength, device=reference.device)
    if strength:
        drawn = [torch.randn(reference.shape[1:], generator=stream) for stream in streams(seed + 1, len(reference))]
        reference = augmented(reference, told, torch.stack(drawn).to(reference))
    return reference, told


def _picture(network: VersaVideo, source: VersaSource, seed: int, augmentation: float | None) -> VersaInputs:
    """What comes from the picture alone, with the noise that SVD wants on it."""
    strength = network.noise_augmentation if augmentation is None else augmentation
    reference, told = noised(source.reference, strength, seed)
    return VersaInputs(
        reference, source.image, identity=source.identity, augmentation=told, motion=source.motion
    )  # fmt: skip


def _encode(
    network: VersaVideo, source: VersaSource, start: VersaInputs, before: VersaConditions | None, begin: int, end: int
) -> VersaConditions:
    """Conditions of the frames from begin to, not including, end."""
    driving = source.drive(begin, end)
    for field in fields(driving):
        value = getattr(driving, field.name)
        if value is None:
            continue
        if value.shape[1] != end - begin:
            raise ValueError(f"{field.name} of frames {begin} to {end - 1} are wanted, got {value.shape[1]} frames")
        _finite(f"{field.name} of frames {begin} to {end - 1}", value)
    if driving.expression is not None and int(driving.expression.max()) >= len(network.expressions):
        raise ValueError(
            f"expression {int(driving.expression.max())} is none: the network knows {len(network.expressions)}, from 0 "
            f"to {len(network.expressions) - 1}: {', '.join(network.expressions)}"
        )
    inputs = VersaInputs(
        start.reference, start.image, driving.skeletons, start.identity, driving.audio, driving.expression,
        driving.blink, start.augmentation, start.motion,
    )  # fmt: skip
    return network.encode(inputs, before)


def _check(source: VersaSource) -> None:
    if source.frames < 1:
        raise ValueError("the video has no frames: there is nothing to generate")
    for name in ("reference", "image", "identity", "motion"):
        value = getattr(source, name)
        if value is not None:
            _finite(name, value)


def _finite(name: str, value: Tensor) -> None:
    if not value.isfinite().all():
        raise ValueError(f"{name}: some of its numbers are not finite (NaN): nothing can be made from them")
