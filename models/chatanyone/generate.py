"""Head motion of any length from a trained diffusion, window after window, in a stream or at once (CA-4, CA-15)."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.chatanyone.face_motion import Conditions, FaceMotion
from models.chatanyone.face_motion_audio import LOOK_BACK
from models.chatanyone.face_motion_space import CHANNELS, HeadMotion
from models.chatanyone.head import EXPRESSIONS, POSE
from models.diffusion.guiders import Guider
from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.unguided import Unguided
from models.diffusion.samplers.ddim import DDIM
from models.diffusion.samplers.dpm import DPMSolver

RATE: Final = 16_000
_TOGETHER: Final = 64  # windows whose speech is heard in one go
Sampler = Literal["ddim", "dpm"]
SAMPLERS: Final[dict[str, Any]] = {"ddim": DDIM, "dpm": DPMSolver}
"""How noise is taken away: as the networks' own numbers of steps are meant, or in few steps."""
LARGEST: Final = 6.0
"""Usual spreads that an estimate of a clean window may lie from the mean."""


class Hearer(Protocol):
    """What hears speech frame by frame: `FaceMotion`, `BodyMotion`."""

    audio: Any
    fps: Any

    @property
    def silence(self) -> float: ...

    def hear(self, speech: Tensor, frames: int, first: int = 0, start: int = 0) -> Tensor: ...


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """A while in which a network does not train. Going through all of its modules takes as long as a step of sampling,
    so one that does not train anyway is left as it is."""
    training = network.training
    if training:
        network.eval()
    try:
        yield
    finally:
        if training:
            network.train()


class FaceWindows:
    """Makes one window after another; what it holds between them does not grow.

    The noise of a window is a function of the seed, the row and the window's number alone, and a window is always
    `network.window` frames: in whatever pieces the speech arrives, the frames are the same.

    Args:
        network: a trained diffusion; runs where its weights are.
        pose: (B, 6) of the head in each picture.
        seed: the same seed gives the same motion.
        steps: sampling steps; None takes the network's.
        sampler: "ddim", or "dpm", which needs fewer steps.
        guidance: weight of classifier-free guidance by speech; None takes the network's.
        expression_range: how far expression goes, in usual spreads (CA-5); None lets the network choose.
        pose_range: likewise of the pose.
        reference: (B, R, E) coefficients whose style is taken over (CA-6); the first
            `network.reference_frames` are read.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, a reference that is too short, or one for a
            network that takes none.
    """

    def __init__(
        self,
        network: FaceMotion,
        pose: Tensor,
        *,
        seed: int = 0,
        steps: int | None = None,
        sampler: Sampler = "ddim",
        guidance: float | None = None,
        expression_range: float | None = None,
        pose_range: float | None = None,
        reference: Tensor | None = None,
    ):
        self.network, self.seed, self.number = network, seed, 0
        device = network.space.mean.device
        self.pose = torch.as_tensor(pose, dtype=torch.float32, device=device)
        if self.pose.ndim != 2 or self.pose.shape[1] != POSE:
            raise ValueError(f"pose has to be (B, {POSE}), got {tuple(self.pose.shape)}")
        check_finite("pose", self.pose)
        size = len(self.pose)
        self.steps = network.sampling_steps if steps is None else steps
        self.guidance, self.sampler = network.guidance if guidance is None else guidance, SAMPLERS[sampler]
        self._before = torch.zeros(size, network.preceding, CHANNELS, device=device)
        self._reference = self._style(reference, size, device)
        dials = (expression_range, pose_range)
        told = torch.tensor([1.0 if dial is None else dial for dial in dials], device=device)
        self._ranges = told.expand(size, -1)
        self._has_ranges = torch.tensor([dial is not None for dial in dials], device=device).expand(size, -1)

    @torch.no_grad()
    def next(self, heard: Tensor) -> HeadMotion:
        """The next window.

        Args:
            heard: (B, `network.heard`, A) from `hear`.

        Returns:
            expression (B, W, E) and pose (B, W, 6).

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        network, size = self.network, len(self.pose)
        if heard.shape[:2] != (size, network.heard):
            raise ValueError(f"a window hears ({size}, {network.heard}, A), got {tuple(heard.shape)}")
        check_finite("speech", heard)
        device = self.pose.device
        rows = [window_noise(self.seed, row, self.number, network.window) for row in range(size)]
        yes = torch.ones(size, dtype=torch.bool, device=device)
        given = Conditions(
            heard,
            self._before,
            yes if self.number else ~yes,
            self._ranges,
            self._has_ranges,
            self._reference,
            None if self._reference is None else yes,
        )
        with evaluating(network):
            x0 = self._denoise(torch.stack(rows).to(device), given)
        self._before = torch.cat([self._before, x0], 1)[:, -network.preceding :]
        self.number += 1
        return network.space.decode(x0, self.pose)

    def _denoise(self, noise: Tensor, given: Conditions) -> Tensor:
        network = self.network
        guider: Guider = Unguided() if self.guidance == 1 else ClassifierFree(speech=self.guidance)
        mask = network.space.mask

        def predict(x: Tensor, levels: Tensor, conditions: Conditions, left_out: Mapping[str, Tensor]) -> Tensor:
            output = network(x, levels, conditions, left_out.get("speech"))
            return network.x0(output, x, levels).clamp(-LARGEST, LARGEST) * mask

        return self.sampler(guider.prepare(predict, given), network.noise, self.steps).run(noise)

    def _style(self, reference: Tensor | None, size: int, device: torch.device) -> Tensor | None:
        network = self.network
        if reference is None:
            return None
        if not network.reference:
            raise ValueError("the network was trained without style transfer (reference=0): it takes no reference")
        reference = torch.as_tensor(reference, dtype=torch.float32, device=device)
        if reference.ndim != 3 or len(reference) != size or reference.shape[2] != EXPRESSIONS:
            raise ValueError(f"reference has to be ({size}, R, {EXPRESSIONS}), got {tuple(reference.shape)}")
        frames = network.reference_frames
        if reference.shape[1] < frames:
            raise ValueError(
                f"reference has {reference.shape[1]} frames, the network reads {frames}: give a longer one"
            )
        check_finite("reference", reference)
        return network.space.encode_expression(reference[:, : frames : network.reference_step])


def generate(
    network: FaceMotion,
    speech: Tensor,
    pose: Tensor,
    *,
    frames: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    sampler: Sampler = "ddim",
    guidance: float | None = None,
    expression_range: float | None = None,
    pose_range: float | None = None,
    reference: Tensor | None = None,
) -> HeadMotion:
    """Motion of heads for pictures and speech of any length.

    Args:
        network: a trained diffusion; runs where its weights are.
        speech: sound (N,) or (B, N) at 16 kHz in [-1, 1], or layers (L, S, C) or (B, L, S, C), as the network hears.
        pose: (6,) or (B, 6) of the head in each picture.
        frames: how many; all that the speech lasts where None.
        seed, steps, sampler, guidance, expression_range, pose_range: see `FaceWindows`.
        reference: (R, E) or (B, R, E), likewise.

    Returns:
        expression (T, E) or (B, T, E), pose (T, 6) or (B, T, 6).

    Raises:
        ValueError: see `FaceWindows`; or speech of less than half a frame.
    """
    single = pose.ndim == 1
    if single:
        speech, pose = speech[None], pose[None]
        reference = None if reference is None else reference[None]
    chunks = list(
        generate_chunks(
            network, speech, pose,
            frames=frames, seed=seed, steps=steps, sampler=sampler, guidance=guidance,
            expression_range=expression_range, pose_range=pose_range, reference=reference,
        )
    )  # fmt: skip
    motion = HeadMotion(torch.cat([c.expression for c in chunks], 1), torch.cat([c.pose for c in chunks], 1))
    return HeadMotion(motion.expression[0], motion.pose[0]) if single else motion


def generate_chunks(
    network: FaceMotion,
    speech: Tensor,
    pose: Tensor,
    *,
    frames: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    sampler: Sampler = "ddim",
    guidance: float | None = None,
    expression_range: float | None = None,
    pose_range: float | None = None,
    reference: Tensor | None = None,
) -> Iterator[HeadMotion]:
    """As `generate` of a batch, window by window as they are done, so that memory does not grow with the length."""
    device = network.space.mean.device
    speech = torch.as_tensor(speech, dtype=torch.float32, device=device)
    check_finite("speech", speech)
    length = spoken_frames(network, speech) if frames is None else frames
    if length < 1:
        raise ValueError("the speech is shorter than half a frame: there is nothing to generate")
    if len(speech) != len(pose):
        raise ValueError(f"speech of {len(speech)} rows does not go with {len(pose)} poses")
    windows = FaceWindows(
        network, pose,
        seed=seed, steps=steps, sampler=sampler, guidance=guidance,
        expression_range=expression_range, pose_range=pose_range, reference=reference,
    )  # fmt: skip
    block = _TOGETHER * network.window
    for start in range(0, length, block):
        heard = hear(network, speech, start - network.history, network.history + block + network.look_ahead)
        for begin in range(start, min(start + block, length), network.window):
            motion = windows.next(heard[:, begin - start : begin - start + network.heard])
            left = length - begin
            yield HeadMotion(motion.expression[:, :left], motion.pose[:, :left])


def hear(network: Hearer, speech: Tensor, first: int, frames: int, start: int = 0) -> Tensor:
    """What is heard in frames, (B, F, A), of speech of which nothing else has to be there; silence before its beginning
    and behind its end.

    Args:
        network: that hears.
        speech: sound (B, N) or layers (B, L, S, C).
        first: number of the first frame; below 0 nothing is heard.
        frames: F.
        start: which sample of all the sound, or step of all the layers, `speech` begins with.
    """
    missing = min(max(0, -first), frames)
    first += missing
    if network.audio == "mel":
        low = max(0, round(first / network.fps * RATE) - LOOK_BACK - start)
        high = round((first + frames - missing) / network.fps * RATE) - start
        heard = network.hear(speech[:, low:high], frames - missing, first, start + low)
    else:
        heard = network.hear(speech, frames - missing, first, start)
    return F.pad(heard, (0, 0, missing, 0), value=network.silence)


def spoken_frames(network: Hearer, speech: Tensor) -> int:
    """Frames of video that speech lasts: sound (..., N), or layers (..., S, C)."""
    seconds = speech.shape[-1] / RATE if network.audio == "mel" else speech.shape[-2] / 50
    return round(seconds * network.fps)


def window_noise(seed: int, row: int, number: int, frames: int, channels: int = CHANNELS, of: str = "") -> Tensor:
    """Starting noise (W, C) of a window: any of them can be had without those before.

    Args:
        seed, row, number: of the performance, the picture and the window.
        frames: W.
        channels: C.
        of: which network's; the noise of another one is its own.
    """
    key = hashlib.blake2b(f"{of}{seed}/{row}/{number}".encode(), digest_size=7).digest()
    stream = torch.Generator().manual_seed(int.from_bytes(key, "little"))
    return torch.randn(frames, channels, generator=stream)


def check_finite(name: str, value: Tensor) -> None:
    """Raises ValueError for numbers that are not finite."""
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} has to be finite, got NaN or infinity")
