"""ChatAnyone's first diffusion: speech to expression and pose of the head (CA-4, CA-5, CA-6)."""

from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.chatanyone.face_motion_audio import Audio, Ear, check_look_ahead
from models.chatanyone.face_motion_space import CHANNELS, HeadSpace
from models.chatanyone.head import EXPRESSIONS
from models.diffusion.noise.ddpm import DDPMNoise, Schedule
from models.diffusion.preconditioning import preconditioning
from models.layers.attention import Attention
from models.layers.dropout import BranchDropout, Draw
from models.layers.embedding import TimestepEmbedding
from models.layers.film import FiLMBank, Modulation
from models.layers.rotary import rotary_freqs
from models.layers.transformer import EncoderLayer, FeedForward, normalise
from models.saved import SavedNetwork
from settings.ranges import Count, Decay, Fps, NonNegative, Whole

_APART: Final = 64  # positions between the reference and the window, so that they are never taken for neighbours
_LEAST: Final = 0.02  # a range below counts as this


class Conditions(NamedTuple):
    """What N windows are made of; `models.diffusion.conditions.stacked` takes it.

    Attributes:
        audio: (N, A, F) what is heard, from `FaceMotion.hear`: `history` frames before the window, it, and
            `look_ahead` frames behind.
        before: (N, P, 22) the frames before the window, as `HeadSpace.encode` has them.
        has_before: (N,) bool, false at the beginning.
        ranges: (N, 2) wanted range of expression and pose, in units of their usual spread (CA-5).
        has_ranges: (N, 2) bool, false where any will do.
        reference: (N, R, E) a sequence of expression whose style is taken over (CA-6); None where no window has one.
        has_reference: (N,) bool.
    """

    audio: Tensor
    before: Tensor
    has_before: Tensor
    ranges: Tensor
    has_ranges: Tensor
    reference: Tensor | None = None
    has_reference: Tensor | None = None


class _Memory(NamedTuple):
    """What blocks attend to beside the window: audio and preceding motion, with their positions."""

    audio: Tensor
    audio_freqs: Tensor
    before: Tensor
    before_freqs: Tensor


class FaceBlock(nn.Module):
    """Self-attention, cross-attention to speech and to preceding motion, feed-forward; each a residual branch over
    adaptive layer norm.

    Args:
        width: channels W.
        heads: attention heads.
        feedforward: hidden channels of the feed-forward.
    """

    NORMS = PLACES = 4

    def __init__(self, width: int, heads: int, feedforward: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.hearing = Attention(width, heads, cross=True)
        self.remembering = Attention(width, heads, cross=True)
        self.feedforward = FeedForward(width, feedforward)

    def forward(
        self,
        x: Tensor,
        memory: _Memory,
        norms: list[Modulation],
        freqs: Tensor,
        mask: Tensor | None,
        dropout: Draw,
        place: int,
    ) -> Tensor:
        """(N, T, W) to the same; `mask` (N, T) says what is there, `place` is the block's first place of dropout."""
        x = dropout.add(x, self.attention(norms[0](normalise(x)), freqs, mask=mask), place)
        heard = self.hearing(norms[1](normalise(x)), freqs, memory.audio, memory_freqs=memory.audio_freqs)
        x = dropout.add(x, heard, place + 1)
        kept = self.remembering(norms[2](normalise(x)), freqs, memory.before, memory_freqs=memory.before_freqs)
        x = dropout.add(x, kept, place + 2)
        return dropout.add(x, self.feedforward(norms[3](normalise(x))), place + 3)


class FaceMotion(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["chatanyone.face_motion"],
    license="other",
):
    """Diffusion transformer that predicts the noise in a window of head coefficients (CA-4, Eq. 1).

    A window is `window` frames. It hears `history` frames of speech before it, its own, and `look_ahead` frames behind,
    at most 0.2 s (CA-15): whatever comes later cannot change it, so a stream and a whole file give the same frames. It
    remembers `preceding` frames of motion. Windows follow one another without overlap.

    Args:
        width: channels of the transformer.
        layers: its blocks (CA-4: 6).
        heads: attention heads.
        feedforward: hidden channels of feed-forwards.
        dropout: probability of dropout on residual branches.
        audio: "mel", hand-crafted and the default, or "layers" of a speech recogniser (speech.npz).
        layer_channels: channels of those layers; of no meaning to mels.
        audio_layers: encoder layers over what is heard.
        window: frames made at once.
        history: frames of speech before the window that are heard.
        look_ahead: frames of speech behind it that are heard, at most 0.2 s.
        preceding: frames of motion before it that are remembered.
        reference: moments of a reference sequence of expression; 0 leaves style transfer out (ablation).
        reference_step: frames from one of them to the next.
        use_ranges: false leaves the dials of range out (ablation).
        predict: what the network predicts; "epsilon", the noise, is the paper's.
        fps: frames a second that it was trained at.
        train_steps: diffusion steps in training.
        noise_schedule: name of the noise schedule.
        sampling_steps: diffusion steps when sampling, unless told otherwise.
        guidance: weight of classifier-free guidance by speech, unless told otherwise.

    Raises:
        ValueError: sizes that do not go together, or more than 0.2 s of look-ahead.
    """

    def __init__(
        self,
        *,
        width: Count = 512,
        layers: Count = 6,
        heads: Count = 8,
        feedforward: Count = 2048,
        dropout: Decay = 0.1,
        audio: Audio = "mel",
        layer_channels: Count = 384,
        audio_layers: Whole = 2,
        window: Count = 5,
        history: Whole = 15,
        look_ahead: Whole = 5,
        preceding: Count = 10,
        reference: Whole = 50,
        reference_step: Count = 1,
        use_ranges: bool = True,
        predict: Literal["epsilon", "v", "x0"] = "epsilon",
        fps: Fps = 25.0,
        train_steps: Count = 1000,
        noise_schedule: Schedule = "linear",
        sampling_steps: Count = 20,
        guidance: NonNegative = 1.0,
    ):
        super().__init__()
        self.ear = Ear(audio, layer_channels, fps)
        check_look_ahead(look_ahead, fps)
        self.audio, self.fps = audio, fps
        self.window, self.history, self.look_ahead, self.preceding = window, history, look_ahead, preceding
        self.reference, self.reference_step = reference, reference_step
        self.use_ranges, self.predict = use_ranges, predict
        self.sampling_steps, self.guidance = sampling_steps, guidance
        self.layer_channels = layer_channels
        self.head_width = width // heads
        self.noise = DDPMNoise(noise_schedule, train_steps)
        self.preconditioning = preconditioning(predict, self.noise)
        self.space = HeadSpace()

        self.audio_inner = nn.Linear(self.ear.channels, width)
        self.audio_encoder = nn.ModuleList(EncoderLayer(width, heads, feedforward) for _ in range(audio_layers))
        self.no_audio = nn.Parameter(torch.randn(width) * 0.02)
        self.inner = nn.Linear(CHANNELS, width)
        self.before_inner = nn.Linear(CHANNELS, width)
        self.no_before = nn.Parameter(torch.randn(width) * 0.02)
        self.reference_inner = nn.Linear(EXPRESSIONS, width) if reference else None

        condition = max(16, width // 4)
        self.timestep = TimestepEmbedding(width, condition)
        self.range_inner = (
            nn.ModuleList(
                nn.Sequential(nn.Linear(1, condition), nn.SiLU(), nn.Linear(condition, condition)) for _ in range(2)
            )
            if use_ranges
            else None
        )
        self.no_range = nn.Parameter(torch.randn(2, condition) * 0.02) if use_ranges else None
        self.layers = nn.ModuleList(FaceBlock(width, heads, feedforward) for _ in range(layers))
        self.norms = FiLMBank(condition, width, layers * FaceBlock.NORMS + 1)
        self.dropout = BranchDropout(dropout)
        self.head = nn.Linear(width, CHANNELS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._checkpointing = False

    @property
    def reference_frames(self) -> int:
        """Frames that a reference sequence has to have."""
        return max(0, (self.reference - 1) * self.reference_step + 1)

    @property
    def heard(self) -> int:
        """Frames of speech that a window hears."""
        return self.history + self.window + self.look_ahead

    @property
    def silence(self) -> float:
        """What `hear` gives where there is no sound."""
        return self.ear.silence

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take an index's statistics into the buffers: "head" and "head_pose", if there."""
        self.space.set_statistics(statistics)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the blocks' activations in the backward pass, to save memory."""
        self._checkpointing = True

    def hear(self, speech: Tensor, frames: int, first: int = 0, start: int = 0) -> Tensor:
        """What the network hears in frames, (B, F, A).

        Args:
            speech: sound (B, N) in [-1, 1] at 16 kHz, or layers (B, L, S, C) at 50 Hz, as `audio` says.
            frames: F.
            first: number of the first frame.
            start: which sample of all the sound, or step of all the layers, `speech` begins with.

        Raises:
            ValueError: another shape.
        """
        return self.ear(speech, frames, first, start)

    def forward(self, noisy: Tensor, timesteps: Tensor, given: Conditions, drop_audio: Tensor | None = None) -> Tensor:
        """What the network predicts of a window (Eq. 1: its noise).

        Args:
            noisy: (N, T, 22) x_t in the space of `self.space`.
            timesteps: (N,) diffusion steps.
            given: the conditions.
            drop_audio: (N,) bool, true where the learned "no speech" stands in for the speech.

        Returns:
            (N, T, 22).
        """
        size, length = noisy.shape[:2]
        x, mask, positions = self.inner(noisy), None, torch.arange(length, device=noisy.device)
        if self.reference_inner is not None and given.reference is not None:
            joined = self.reference_inner(given.reference)
            frames = joined.shape[1]
            x = torch.cat([joined, x], 1)
            far = torch.arange(-frames, 0, device=noisy.device) - _APART - self.preceding
            positions = torch.cat([far, positions])
            has = given.has_reference
            if has is not None:
                mask = torch.cat([has[:, None].expand(-1, frames), has.new_ones(size, length)], 1)
        freqs = rotary_freqs(positions, self.head_width, noisy.device)
        dropout = self.dropout.draw(x, self._places())
        memory = self._remember(given, drop_audio)
        norms = self.norms(self._condition(timesteps, given))
        for number, layer in enumerate(self.layers):
            first = number * FaceBlock.NORMS
            inputs = (x, memory, norms[first : first + FaceBlock.NORMS], freqs, mask, dropout, first)
            if self._checkpointing and self.training:
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs)
        return self.head(norms[-1](normalise(x[:, x.shape[1] - length :])))

    def x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean window that a prediction means, (N, T, 22)."""
        return self.preconditioning.x0(output, noisy, self.noise.scales(timesteps, noisy))

    def _places(self) -> int:
        return len(self.layers) * FaceBlock.PLACES

    def _condition(self, timesteps: Tensor, given: Conditions) -> Tensor:
        condition = self.timestep(timesteps)
        if self.range_inner is None or self.no_range is None:
            return condition
        told = given.ranges.clamp(min=_LEAST).log()
        for number, inner in enumerate(self.range_inner):
            wanted = torch.where(given.has_ranges[:, number, None], inner(told[:, number, None]), self.no_range[number])
            condition = condition + wanted
        return condition

    def _remember(self, given: Conditions, drop_audio: Tensor | None) -> _Memory:
        """Speech and preceding motion as what blocks attend to."""
        device = given.audio.device
        heard = self.audio_inner(given.audio)
        at = torch.arange(heard.shape[1], device=device) - self.history
        freqs = rotary_freqs(at, self.head_width, device)
        still = Draw(0.0, None, [])
        for number, layer in enumerate(self.audio_encoder):
            heard = layer(heard, freqs, still, number * EncoderLayer.PLACES)
        if drop_audio is not None:
            heard = torch.where(drop_audio[:, None, None], self.no_audio.to(heard), heard)
        before = self.before_inner(given.before)
        before = torch.where(given.has_before[:, None, None], before, self.no_before.to(before))
        back = torch.arange(-before.shape[1], 0, device=device)
        return _Memory(normalise(heard), freqs, before, rotary_freqs(back, self.head_width, device))
