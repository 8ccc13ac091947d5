"""Motion features of any length from a trained diffusion: windows that go on from one another (IM-14, IM-17)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.diffusion.chaining import jumps, smooth, streams
from models.diffusion.conditions import stacked
from models.diffusion.guiders import Guider
from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.unguided import Unguided
from models.diffusion.samplers.ddim import DDIM
from models.implicit_motion.audio import RATE
from models.implicit_motion.motion import HANDCRAFTED, PRECEDING, Heard, MotionDiffusion, Spoken

EASE = 12
"""Frames over which a window finds from where the one before ended to where it wants to be."""


def generate(
    network: MotionDiffusion,
    source_motion: Tensor,
    appearance: Tensor,
    audio: Tensor,
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    lengths: Tensor | None = None,
    spoken: Spoken | None = None,
) -> Tensor:
    """Motion features for a source picture and speech of any length.

    Args:
        network: a trained diffusion; runs where its weights are.
        source_motion: M^0 (C,) or (B, C), as the base network gives it.
        appearance: F_A (A,) or (B, A), likewise.
        audio: sound (N,) or (B, N) at 16 kHz in [-1, 1], or features (T, 35) or (B, T, 35), as the network hears.
        seed: the same seed gives the same motion; in a batch each sequence draws from a stream of its own.
        steps: sampling steps; None takes the network's.
        guidance: weight of classifier-free guidance; None takes the network's.
        lengths: (B,) frames of speech in each row, where rows are padded at the end; all where None.
        spoken: all of the speech of which `audio` is a part, for F_ag; where None, `audio` is all of it.

    Returns:
        (T, C) or (B, T, C), as the base network would give it of the frames.

    Raises:
        ValueError: shapes that do not fit, or speech of less than half a frame.
    """
    single = source_motion.ndim == 1
    chunks = generate_chunks(
        network, source_motion, appearance, audio,
        seed=seed, steps=steps, guidance=guidance, lengths=lengths, spoken=spoken,
    )  # fmt: skip
    motion = torch.cat(list(chunks), 1)
    return motion[0] if single else motion


@torch.no_grad()
def generate_chunks(
    network: MotionDiffusion,
    source_motion: Tensor,
    appearance: Tensor,
    audio: Tensor,
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    lengths: Tensor | None = None,
    spoken: Spoken | None = None,
) -> Iterator[Tensor]:
    """As `generate`, in pieces (B, n, C) as they are done, so that memory does not grow with the length.

    Each window makes `network.hop` frames. The last four of the window before stand before its first (IM-14), and it
    goes on from them (`go_on`). F_al of a window comes from `network.window` frames of speech: those four, its own, and
    the few behind that the last frames' slices need. F_ag is made once, of all of the speech (IM-13), and is the same
    for all windows; of a network with `global_speech="window"` it is of the window.
    """
    device = network.audio_mean.device
    source_motion, appearance, audio = (
        torch.as_tensor(value, dtype=torch.float32, device=device) for value in (source_motion, appearance, audio)
    )
    if source_motion.ndim == 1:
        source_motion, appearance, audio = source_motion[None], appearance[None], audio[None]
    length = _check(network, source_motion, appearance, audio)
    size, channels = source_motion.shape
    own = streams(seed, size)
    before: Tensor | None = None
    training = network.training
    network.eval()
    try:
        whole: Tensor | None = None
        if network.reads_clip:
            if spoken is None:
                frames = torch.full((size,), length, device=device) if lengths is None else lengths.to(device)
                spoken = Spoken(audio, frames)
            whole = network.hear_all(spoken)
        for begin in range(0, length, network.hop):
            noise = torch.stack([torch.randn(network.hop, channels, generator=stream) for stream in own])
            speech = _window(network, audio, begin)
            heard = network.listen(speech, network.hop, whole)
            x0 = _denoise(network, noise.to(device), source_motion, appearance, heard, before, steps, guidance)
            before = x0[:, -PRECEDING:]
            yield network.space.decode(x0, source_motion)[:, : length - begin]
    finally:
        network.train(training)


def seams(network: MotionDiffusion, length: int) -> list[int]:
    """Frames at which a new window takes over, in a sequence of so many."""
    return list(range(network.hop, length, network.hop))


def seam_statistics(motion: Tensor, seam_frames: Sequence[int], reach: int = 0) -> dict[str, float]:
    """How far motion features jump at seams beside how far they move elsewhere (IM-17).

    The frame difference is the distance of a frame's features from those of the frame before.

    Args:
        motion: (T, C), or (B, T, C) with the same seams, measured together.
        seam_frames: frame numbers, as from `seams`.
        reach: further frames behind each seam that count as seam as well.

    Returns:
        "seams", "median_at_seams", "median_inside", "ratio" of the two, "largest_at_seams", "percentile_99_9_inside".

    Raises:
        ValueError: no seam, or nothing but seams.
    """
    motion = motion.double()
    motion = motion[None] if motion.ndim == 2 else motion
    return jumps((motion[:, 1:] - motion[:, :-1]).norm(dim=-1), seam_frames, reach)


def go_on(x0: Tensor, before: Tensor) -> Tensor:
    """Frames that go on from those before them (IM-17; how is ours).

    The step from the last frame before to the first is made the mean of the steps on either side. By how much that
    moves the first frame, the frames behind it are moved too, less and less: position goes on without a jump, and the
    predicted movement stays.

    Args:
        x0: (B, T, C) predicted frames.
        before: (B, K, C) the frames before them, K at least 2.
    """
    step = before[:, -1:] - before[:, -2:-1]
    if x0.shape[1] > 1:
        step = (step + x0[:, 1:2] - x0[:, :1]) / 2
    moved = before[:, -1:] + step - x0[:, :1]
    length = min(EASE, x0.shape[1])
    ease = smooth(torch.linspace(1, 0, EASE + 1, device=x0.device)[:length])[:, None]
    return torch.cat([x0[:, :length] + moved * ease, x0[:, length:]], 1)


def _check(network: MotionDiffusion, source_motion: Tensor, appearance: Tensor, audio: Tensor) -> int:
    """Frames of the speech, after a look at all shapes."""
    size = len(source_motion)
    for name, value, channels in (
        ("source_motion", source_motion, network.motion_channels),
        ("appearance", appearance, network.appearance_channels),
    ):
        if value.shape != (size, channels):
            raise ValueError(f"{name} has to be ({size}, {channels}), got {tuple(value.shape)}")
    if network.audio == "raw":
        wanted, right = f"({size}, N) at 16 kHz", audio.ndim == 2
        length = round(audio.shape[-1] / RATE * network.fps)
    else:
        wanted, right = f"({size}, T, {HANDCRAFTED})", audio.ndim == 3 and audio.shape[2] == HANDCRAFTED
        length = audio.shape[1] if right else 0
    if not right or len(audio) != size:
        raise ValueError(f"audio has to be {wanted} to go with the source, got {tuple(audio.shape)}")
    if length < 1:
        raise ValueError("the speech is shorter than a frame: there is nothing to generate")
    return length


def _window(network: MotionDiffusion, audio: Tensor, begin: int) -> Tensor:
    """The speech of a window whose first new frame is `begin`; beyond its ends, silence or the features at the end."""
    first, last = begin - PRECEDING, begin - PRECEDING + network.window
    if network.audio == "raw":
        first, last = (round(frame / network.fps * RATE) for frame in (first, last))
        inside = audio[:, max(first, 0) : last]
        return F.pad(inside, (max(-first, 0), last - max(first, 0) - inside.shape[1]))
    return audio[:, torch.arange(first, last, device=audio.device).clamp(0, audio.shape[1] - 1)]


def _denoise(
    network: MotionDiffusion,
    noise: Tensor,
    source: Tensor,
    appearance: Tensor,
    heard: Heard,
    before: Tensor | None,
    steps: int | None,
    guidance: float | None,
) -> Tensor:
    """x0 (B, T, C) of one window; each step's estimate gives the next one its preceding frames (IM-14).

    Where frames stand before it (`before` is None at the beginning), every estimate is made to go on from them.
    """
    guider: Guider = Unguided()
    if network.hears:
        guider = ClassifierFree(speech=network.guidance if guidance is None else guidance)
    first = noise.new_zeros(len(noise), PRECEDING, noise.shape[2]) if before is None else before
    estimate: Tensor | None = None

    def predict(x_t: Tensor, timesteps: Tensor, given: tuple[Any, ...], left_out: Mapping[str, Tensor]) -> Tensor:
        known = None if estimate is None else stacked(estimate, len(x_t) // len(estimate))
        return network(x_t, timesteps, *given, estimate=known, drop_speech=left_out.get("speech")).x0

    denoise = guider.prepare(predict, (source, appearance, heard, first))

    def remember(x_t: Tensor, timesteps: Tensor) -> Tensor:
        nonlocal estimate
        x0 = denoise(x_t, timesteps)
        estimate = x0 if before is None else go_on(x0, before)
        return estimate

    return DDIM(remember, network.noise, steps or network.sampling_steps).run(noise)
