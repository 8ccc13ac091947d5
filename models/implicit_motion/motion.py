"""The second stage's network: speech and a picture to motion features, by diffusion (IM-12 to IM-16)."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.diffusion.noise.ddpm import DDPMNoise, Schedule
from models.diffusion.preconditioning import EDM
from models.implicit_motion.audio import RATE, Filterbank, MambaGlobal, MambaLocal
from models.implicit_motion.motion_space import MotionSpace
from models.layers.attention import Attention
from models.layers.dropout import BranchDropout, Draw
from models.layers.embedding import TimestepEmbedding
from models.layers.film import FiLMBank, Modulation
from models.layers.rotary import rotary_freqs
from models.layers.transformer import FeedForward, normalise
from models.saved import SavedNetwork
from settings.ranges import Count, Decay, Fps, NonNegative, Positive, Whole

HANDCRAFTED = 35
PRECEDING = 4
"""Frames before the target that it is told of (IM-14)."""


LONGEST = 30.0
"""Seconds of the longest clip; longer speech is read in pieces of so many, each as a clip is, whose means are taken."""


class Spoken(NamedTuple):
    """All of the speech that windows are of, for F_ag (IM-13).

    Attributes:
        speech: (U, N) sound at 16 kHz or (U, F, 35) features of U clips, as the network hears; padded at the end.
        frames: (U,) video frames of each clip.
        rows: (B,) which clip each window is of; one each where None.
    """

    speech: Tensor
    frames: Tensor
    rows: Tensor | None = None


class Heard(NamedTuple):
    """What a window's speech is to the network: F_ag (B, W) and F_al (B, T, W); None where switched off."""

    whole: Tensor | None
    frames: Tensor | None


class Denoised(NamedTuple):
    """A prediction: the noise (B, T, C), the x0 that it means, and the speech as heard, to be used again."""

    noise: Tensor
    x0: Tensor
    heard: Heard


class DiffusionBlock(nn.Module):
    """Self-attention and feed-forward, each a residual branch over layer norm with FiLM.

    Args:
        width: channels W.
        heads: attention heads.
        feedforward: hidden channels of the feed-forward.
    """

    FILMS = PLACES = 2

    def __init__(self, width: int, heads: int, feedforward: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, feedforward)

    def forward(self, x: Tensor, films: list[Modulation], freqs: Tensor, dropout: Draw, place: int) -> Tensor:
        """(B, T, W) to the same; `place` is the block's first place of dropout."""
        x = dropout.add(x, self.attention(normalise(x), freqs), place, films[0])
        return dropout.add(x, self.feedforward(normalise(x)), place + 1, films[1])


class MotionDiffusion(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["implicit_motion.motion"],
    license="other",
):
    """Mamba-enhanced diffusion transformer: predicts the noise in motion features of a window (IM-15).

    A window is `window` frames of speech. The features of `hop` of them are denoised: all but the first four, which
    stand for the frames before (IM-14), and the last few, whose sound the last frames' slices need. The condition is
    c = (F_ag, F_al, four preceding frames, F_A) (IM-12) and M^0, the source picture's own features (ours).

    Noise and x0 come from the transformer's output G by fixed weights, x0 = s^2 a x / d^2 + (b / d) G with signal a,
    noise b and d^2 = b^2 + s^2 a^2 (Karras et al. 2022; ours): what a transformer narrower than the features cannot see
    of the noise is then no noise in the result, but for the share s.

    Args:
        width: channels of the transformer.
        layers: its layers.
        heads: attention heads.
        feedforward: hidden channels of feed-forwards.
        dropout: probability of dropout on residual branches.
        motion_channels: numbers C of a frame's motion features.
        appearance_channels: numbers in F_A.
        audio: "raw", the 16 kHz waveform, or "handcrafted", 35 features a frame.
        audio_width: channels of the Mamba extractors.
        audio_layers: Mamba blocks of each extractor.
        audio_filters: filters that read the waveform.
        audio_steps: steps a frame to which they bring it.
        audio_reach: frames on either side whose sound belongs to a frame's slice.
        use_global: false leaves F_ag out (ablation).
        global_speech: what F_ag is of: "clip", all of the speech (IM-13), or "window", the window at hand, as networks
            saved before there was a choice have it.
        use_local: false leaves F_al out (ablation).
        use_appearance: false leaves F_A out (ablation).
        predict: "offset" from M^0 or "motion"; see `MotionSpace`.
        unseen: s, spread of x0 that is assumed where the transformer sees nothing.
        window: frames of speech at once.
        fps: frames a second that it was trained at.
        train_steps: diffusion steps in training.
        noise_schedule: name of the noise schedule.
        sampling_steps: diffusion steps when sampling, unless told otherwise.
        guidance: weight of classifier-free guidance, unless told otherwise.

    Raises:
        ValueError: sizes that do not go together.
    """

    audio_mean: Tensor
    audio_std: Tensor

    def __init__(
        self,
        *,
        width: Count = 512,
        layers: Count = 8,
        heads: Count = 8,
        feedforward: Count = 2048,
        dropout: Decay = 0.1,
        motion_channels: Count = 768,
        appearance_channels: Count = 512,
        audio: Literal["raw", "handcrafted"] = "raw",
        audio_width: Count = 256,
        audio_layers: Count = 2,
        audio_filters: Count = 64,
        audio_steps: Count = 4,
        audio_reach: Whole = 2,
        use_global: bool = True,
        global_speech: Literal["clip", "window"] = "window",
        use_local: bool = True,
        use_appearance: bool = True,
        predict: Literal["offset", "motion"] = "offset",
        unseen: Positive = 0.1,
        window: Count = 80,
        fps: Fps = 25.0,
        train_steps: Count = 1000,
        noise_schedule: Schedule = "cosine",
        sampling_steps: Count = 50,
        guidance: NonNegative = 1.5,
    ):
        super().__init__()
        if audio not in ("raw", "handcrafted"):
            raise ValueError(f"audio has to be 'raw' or 'handcrafted', got '{audio}'")
        if global_speech not in ("clip", "window"):
            raise ValueError(f"global_speech has to be 'clip' or 'window', got '{global_speech}'")
        if not 0 <= audio_reach <= PRECEDING:
            raise ValueError(f"audio_reach has to be from 0 to {PRECEDING} frames, got {audio_reach}")
        if window <= PRECEDING + audio_reach:
            raise ValueError(f"window has to be longer than {PRECEDING + audio_reach} frames, got {window}")
        if not unseen > 0:
            raise ValueError(f"unseen has to be above 0, got {unseen}")
        self.audio, self.use_appearance, self.hears = audio, use_appearance, use_global or use_local
        self.reads_clip = use_global and global_speech == "clip"
        self.window, self.fps, self.after = window, fps, audio_reach
        self.sampling_steps, self.guidance = sampling_steps, guidance
        self.motion_channels, self.appearance_channels = motion_channels, appearance_channels
        self.head_width = width // heads
        self.noise = DDPMNoise(noise_schedule, train_steps)
        self.preconditioning = EDM(unseen, output=1.0, scale_inputs=False)
        self.space = MotionSpace(motion_channels, predict)
        self.register_buffer("audio_mean", torch.zeros(HANDCRAFTED))
        self.register_buffer("audio_std", torch.ones(HANDCRAFTED))

        self.inner = nn.Linear(motion_channels, width)
        self.preceding = nn.Linear(PRECEDING * motion_channels, width, bias=False)
        self.source = nn.Linear(motion_channels, width)
        self.appearance = nn.Linear(appearance_channels, width) if use_appearance else None
        self.filterbank = Filterbank(audio_filters, audio_steps) if audio == "raw" and self.hears else None
        inputs, steps = (audio_filters, audio_steps) if audio == "raw" else (HANDCRAFTED, 1)
        self.whole = MambaGlobal(inputs, audio_width, width, audio_layers) if use_global else None
        self.local = MambaLocal(inputs, audio_width, width, audio_layers, steps, audio_reach) if use_local else None
        self.no_speech = nn.Parameter(torch.randn(2, width) * 0.02) if self.hears else None

        condition = max(16, width // 4)
        self.timestep = TimestepEmbedding(width, condition)
        self.situation = nn.Linear(width, condition)
        self.layers = nn.ModuleList(DiffusionBlock(width, heads, feedforward) for _ in range(layers))
        self.films = FiLMBank(condition, width, layers * DiffusionBlock.FILMS + 1)
        self.dropout = BranchDropout(dropout)
        self.head = nn.Linear(width, motion_channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._checkpointing = False

    @property
    def hop(self) -> int:
        """Frames of a window that are generated."""
        return self.window - PRECEDING - self.after

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take an index's statistics into the buffers: "handcrafted", and "implicit" and "implicit_motion" if there."""
        self.space.set_statistics(statistics)
        if "handcrafted" in statistics:
            for buffer, moment in ((self.audio_mean, "mean"), (self.audio_std, "std")):
                buffer.copy_(torch.as_tensor(statistics["handcrafted"][moment], dtype=buffer.dtype))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the transformer's activations in the backward pass, to save memory."""
        self._checkpointing = True

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        source: Tensor,
        appearance: Tensor,
        speech: Tensor | Heard,
        before: Tensor,
        *,
        estimate: Tensor | None = None,
        self_condition: Tensor | None = None,
        drop_speech: Tensor | None = None,
        spoken: Spoken | None = None,
    ) -> Denoised:
        """Predict the noise (Eq. 7) in the frames of a window behind the first four.

        Args:
            noisy: (B, T, C) x_t in the space of `self.space`; T is `hop`, or less for a shorter window.
            timesteps: (B,) diffusion steps.
            source: M^0 (B, C), as the base network gives it.
            appearance: F_A (B, A), likewise.
            speech: sound (B, N) at 16 kHz or features (B, 4 + T + reach, 35) of the whole window, or as heard before.
            before: (B, 4, C) frames before the first, in the space of `self.space`; zero where there are none (IM-14).
            estimate: (B, T, C) x0 of an earlier pass, whose frames precede; zero where there is none.
            self_condition: (B,) bool, where an earlier pass of this call gives the estimate (self-conditioning).
            drop_speech: (B,) bool, true where the learned "no speech" stands in for the speech.
            spoken: all of the speech that the windows are of, for a network whose F_ag is of it.

        Raises:
            ValueError: a network whose F_ag is of all of the speech is given the window alone.
        """
        heard = speech if isinstance(speech, Heard) else self.listen(speech, noisy.shape[1], spoken)
        whole, frames = self._drop(heard, drop_speech)
        context = self.source(self.space.condition(source))
        if self.appearance is not None:
            context = context + self.appearance(normalise(appearance))
        if whole is not None:
            context = context + whole
        tokens = self.inner(noisy) + context[:, None]
        if frames is not None:
            tokens = tokens + frames
        estimate = torch.zeros_like(noisy) if estimate is None else estimate
        if self_condition is not None:
            with torch.no_grad():
                _, first = self._denoise(noisy, timesteps, tokens, context, before, estimate)
            estimate = torch.where(self_condition[:, None, None], first, estimate)
        return Denoised(*self._denoise(noisy, timesteps, tokens, context, before, estimate), heard)

    def listen(self, speech: Tensor, count: int, spoken: Spoken | Tensor | None = None) -> Heard:
        """F_ag, and F_al of `count` frames that stand between the four before and those behind.

        Args:
            speech: of the window, as `forward` takes it.
            count: frames.
            spoken: all of the speech, or F_ag (B, W) made of it before.
        """
        if not self.hears:
            return Heard(None, None)
        whole = None
        if isinstance(spoken, Tensor):
            whole = spoken
        elif self.reads_clip:
            if spoken is None:
                raise ValueError(
                    "F_ag is of all of the speech (global_speech='clip'): give `spoken`, not a window alone"
                )
            whole = self.hear_all(spoken)
        steps = self._steps(speech, PRECEDING + count + self.after)
        if whole is None and self.whole is not None:
            whole = self.whole(steps)
        return Heard(whole, None if self.local is None else self.local(steps, PRECEDING, count))

    def hear_all(self, spoken: Spoken) -> Tensor:
        """F_ag (B, W) of all of the speech (IM-13); each clip is read once, however many windows are of it."""
        assert self.whole is not None
        longest, piece = spoken.speech.shape[1], round(LONGEST * self.fps)
        if self.filterbank is not None:
            longest = max(1, round(longest / RATE * self.fps))
        total: Tensor | float = 0.0
        count: Tensor | float = 0.0
        for begin in range(0, longest, piece):
            end = min(begin + piece, longest)
            steps = self._steps(self._cut(spoken.speech, begin, end), end - begin)
            a_frame = steps.shape[1] // (end - begin)
            read, number = self.whole.read(steps, (spoken.frames - begin).clamp(0, end - begin) * a_frame)
            total, count = total + read, count + number
        whole = self.whole.conclude(total, count)  # type: ignore[arg-type]
        return whole if spoken.rows is None else whole[spoken.rows]

    def _cut(self, speech: Tensor, begin: int, end: int) -> Tensor:
        """The speech of frames `begin` to `end`; silence where there is none."""
        if self.filterbank is None:
            return speech[:, begin:end]
        first, last = (round(frame / self.fps * RATE) for frame in (begin, end))
        part = speech[:, first:last]
        return F.pad(part, (0, last - first - part.shape[1]))

    def _steps(self, speech: Tensor, frames: int) -> Tensor:
        """What the extractors read of the speech of so many frames."""
        if self.filterbank is not None:
            return self.filterbank(speech, frames)
        return ((speech - self.audio_mean) / self.audio_std).clamp(-10, 10)

    def _drop(self, heard: Heard, drop: Tensor | None) -> Heard:
        if drop is None or self.no_speech is None:
            return heard
        for_whole, for_frames = self.no_speech
        return Heard(
            None if heard.whole is None else torch.where(drop[:, None], for_whole, heard.whole),
            None if heard.frames is None else torch.where(drop[:, None, None], for_frames, heard.frames),
        )

    def _denoise(
        self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, context: Tensor, before: Tensor, estimate: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The noise and x0, both (B, T, C)."""
        length = noisy.shape[1]
        known = torch.cat([before, estimate], 1)[:, :-1].to(noisy.dtype)  # frame i stands at i + 4
        x = tokens + self.preceding(known.unfold(1, PRECEDING, 1).flatten(2))  # i-4 to i-1 of each frame
        films = self.films(self.timestep(timesteps) + self.situation(F.mish(context)))
        freqs = rotary_freqs(length, self.head_width, noisy.device)
        dropout = self.dropout.draw(x, len(self.layers) * DiffusionBlock.PLACES)
        for index, layer in enumerate(self.layers):
            place = index * DiffusionBlock.PLACES
            inputs = (x, films[place : place + DiffusionBlock.FILMS], freqs, dropout, place)
            if self._checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs)
        output = self.head(films[-1](normalise(x))).float()
        noisy, scales = noisy.float(), self.noise.scales(timesteps, output)
        precondition = self.preconditioning
        return precondition.noise(output, noisy, scales), precondition.x0(output, noisy, scales)
