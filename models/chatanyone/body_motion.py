"""ChatAnyone's second diffusion: face, speech and appearance to head offsets, body key points and hands (CA-7)."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.chatanyone.body_motion_space import HEAD, BodySpace
from models.chatanyone.face_motion_audio import Audio, Ear, check_look_ahead
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


class BodyConditions(NamedTuple):
    """What N windows are made of; `models.diffusion.conditions.stacked` takes it.

    Attributes:
        audio: (N, A, F) what is heard, from `BodyMotion.hear`: `history` frames before the window, it, and
            `look_ahead` frames behind.
        heads: (N, P + T, 177) key points of the head in `preceding` frames before the window and in its own, as
            `BodySpace.encode_heads` has them.
        appearance: (N, A) of the picture.
        picture: (N, C) what else is known of it, as `BodySpace.encode_picture` has it.
        before: (N, P, C) the frames before the window, as `BodySpace.encode` has them.
        has_before: (N,) bool, false at the beginning.
    """

    audio: Tensor
    heads: Tensor
    appearance: Tensor
    picture: Tensor
    before: Tensor
    has_before: Tensor


class _Memory(NamedTuple):
    """One of the sequences that blocks attend to beside the window, and its positions."""

    values: Tensor
    freqs: Tensor


class BodyBlock(nn.Module):
    """Self-attention, cross-attention to each of the conditions, feed-forward; each a residual branch over adaptive
    layer norm.

    Args:
        width: channels W.
        heads: attention heads.
        feedforward: hidden channels of the feed-forward.
        conditions: names of what is attended to.
    """

    def __init__(self, width: int, heads: int, feedforward: int, conditions: tuple[str, ...]):
        super().__init__()
        self.attention = Attention(width, heads)
        self.crossing = nn.ModuleDict({name: Attention(width, heads, cross=True) for name in conditions})
        self.feedforward = FeedForward(width, feedforward)

    def forward(
        self,
        x: Tensor,
        memories: dict[str, _Memory],
        norms: list[Modulation],
        freqs: Tensor,
        dropout: Draw,
        place: int,
    ) -> Tensor:
        """(N, T, W) to the same; `place` is the block's first place of dropout."""
        x = dropout.add(x, self.attention(norms[0](normalise(x)), freqs), place)
        for number, (name, cross) in enumerate(self.crossing.items(), 1):
            memory = memories[name]
            found = cross(norms[number](normalise(x)), freqs, memory.values, memory_freqs=memory.freqs)
            x = dropout.add(x, found, place + number)
        return dropout.add(x, self.feedforward(norms[-1](normalise(x))), place + len(norms) - 1)


class BodyMotion(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["chatanyone.body_motion"],
    license="other",
):
    """Diffusion transformer of what moves the renderer beside the head: dX, the body's key points, hands (CA-7).

    A window is `window` frames, those of `face_motion`: it sees the key points of their heads and of `preceding` frames
    before, hears `history` frames of speech before it, its own, and `look_ahead` frames behind, at most 0.2 s (CA-15),
    and remembers `preceding` frames of its own motion. Windows follow one another without overlap, so that a stream and
    a whole file give the same frames. A share of x_t, which the diffusion step decides for each number, goes past the
    transformer (ours).

    Args:
        width: channels of the transformer.
        layers: its blocks (CA-7: 2).
        heads: attention heads.
        feedforward: hidden channels of feed-forwards.
        dropout: probability of dropout on residual branches.
        audio: "mel", hand-crafted and the default, or "layers" of a speech recogniser (speech.npz); as the face's.
        layer_channels: channels of those layers; of no meaning to mels.
        audio_layers: encoder layers over what is heard.
        movement_channels: three for each of the body's implicit key points; 0 for a renderer of heads alone.
        appearance_channels: numbers of a picture's appearance.
        use_face: false leaves the head's key points out (ablation).
        use_audio: false leaves speech out (ablation).
        use_appearance: false leaves the picture's appearance out (ablation).
        window: frames made at once; as the face's, as are all that follow.
        history: frames of speech before the window that are heard.
        look_ahead: frames of speech behind it that are heard, at most 0.2 s.
        preceding: frames before it whose heads are seen and whose motion is remembered.
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
        layers: Count = 2,
        heads: Count = 8,
        feedforward: Count = 2048,
        dropout: Decay = 0.1,
        audio: Audio = "mel",
        layer_channels: Count = 384,
        audio_layers: Whole = 2,
        movement_channels: Whole = 63,
        appearance_channels: Count = 512,
        use_face: bool = True,
        use_audio: bool = True,
        use_appearance: bool = True,
        window: Count = 5,
        history: Whole = 15,
        look_ahead: Whole = 5,
        preceding: Count = 10,
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
        self.audio, self.fps, self.layer_channels = audio, fps, layer_channels
        self.window, self.history, self.look_ahead, self.preceding = window, history, look_ahead, preceding
        self.movement_channels, self.appearance_channels = movement_channels, appearance_channels
        self.use_audio, self.predict = use_audio, predict
        self.sampling_steps, self.guidance = sampling_steps, guidance
        self.head_width = width // heads
        self.noise = DDPMNoise(noise_schedule, train_steps)
        self.preconditioning = preconditioning(predict, self.noise)
        self.space = BodySpace(movement_channels)

        self.audio_inner = nn.Linear(self.ear.channels, width) if use_audio else None
        self.audio_encoder = nn.ModuleList(
            EncoderLayer(width, heads, feedforward) for _ in range(audio_layers if use_audio else 0)
        )
        self.no_audio = nn.Parameter(torch.randn(width) * 0.02) if use_audio else None
        self.face_inner = nn.Linear(HEAD, width) if use_face else None
        self.appearance_inner = (
            nn.Sequential(nn.LayerNorm(appearance_channels), nn.Linear(appearance_channels, width))
            if use_appearance
            else None
        )
        self.picture_inner = nn.Linear(self.space.picture_channels, width)
        self.inner = nn.Linear(self.space.channels, width)
        self.before_inner = nn.Linear(self.space.channels, width)
        self.no_before = nn.Parameter(torch.randn(width) * 0.02)

        condition = max(16, width // 4)
        self.timestep = TimestepEmbedding(width, condition)
        self.conditions = tuple(
            name
            for name, used in (("face", use_face), ("audio", use_audio), ("picture", True), ("before", True))
            if used
        )
        self.layers = nn.ModuleList(BodyBlock(width, heads, feedforward, self.conditions) for _ in range(layers))
        self.sites = len(self.conditions) + 2
        self.norms = FiLMBank(condition, width, layers * self.sites + 1)
        self.dropout = BranchDropout(dropout)
        self.head = nn.Linear(width, self.space.channels)
        # A width may be less than there are numbers, and noise in all of them does not pass through it.
        self.past = nn.Linear(condition, self.space.channels)
        for last in (self.head, self.past):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self._checkpointing = False

    @property
    def heard(self) -> int:
        """Frames of speech that a window hears."""
        return self.history + self.window + self.look_ahead

    @property
    def silence(self) -> float:
        """What `hear` gives where there is no sound."""
        return self.ear.silence

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take an index's statistics into the buffers: those of "chatanyone" and "pose", if there."""
        self.space.set_statistics(statistics)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the blocks' activations in the backward pass, to save memory."""
        self._checkpointing = True

    def hear(self, speech: Tensor, frames: int, first: int = 0, start: int = 0) -> Tensor:
        """What the network hears in frames, (B, F, A); arguments and errors as `FaceMotion.hear`."""
        return self.ear(speech, frames, first, start)

    def forward(
        self, noisy: Tensor, timesteps: Tensor, given: BodyConditions, drop_audio: Tensor | None = None
    ) -> Tensor:
        """What the network predicts of a window (Eq. 1: its noise).

        Args:
            noisy: (N, T, C) x_t in the space of `self.space`.
            timesteps: (N,) diffusion steps.
            given: the conditions.
            drop_audio: (N,) bool, true where the learned "no speech" stands in for the speech.

        Returns:
            (N, T, C).
        """
        x = self.inner(noisy)
        freqs = self._freqs(0, noisy.shape[1], noisy.device)
        dropout = self.dropout.draw(x, len(self.layers) * self.sites)
        memories = self._memories(given, drop_audio)
        step = self.timestep(timesteps)
        norms = self.norms(step)
        for number, layer in enumerate(self.layers):
            first = number * self.sites
            inputs = (x, memories, norms[first : first + self.sites], freqs, dropout, first)
            if self._checkpointing and self.training:
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs)
        return self.head(norms[-1](normalise(x))) + self.past(F.mish(step))[:, None] * noisy

    def x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean window that a prediction means, (N, T, C)."""
        return self.preconditioning.x0(output, noisy, self.noise.scales(timesteps, noisy))

    def _freqs(self, first: int, count: int, device: torch.device) -> Tensor:
        return rotary_freqs(torch.arange(first, first + count, device=device), self.head_width, device)

    def _memories(self, given: BodyConditions, drop_audio: Tensor | None) -> dict[str, _Memory]:
        """Each condition as what blocks attend to; positions are those of the window's frames."""
        device = given.heads.device
        memories = {}
        if self.face_inner is not None:
            faces = self.face_inner(given.heads)
            memories["face"] = _Memory(faces, self._freqs(self.window - faces.shape[1], faces.shape[1], device))
        if self.audio_inner is not None and self.no_audio is not None:
            heard = self.audio_inner(given.audio)
            freqs = self._freqs(-self.history, heard.shape[1], device)
            still = Draw(0.0, None, [])
            for number, layer in enumerate(self.audio_encoder):
                heard = layer(heard, freqs, still, number * EncoderLayer.PLACES)
            if drop_audio is not None:
                heard = torch.where(drop_audio[:, None, None], self.no_audio.to(heard), heard)
            memories["audio"] = _Memory(normalise(heard), freqs)
        tokens = [self.picture_inner(given.picture)]
        if self.appearance_inner is not None:
            tokens.append(self.appearance_inner(given.appearance))
        memories["picture"] = _Memory(torch.stack(tokens, 1), self._freqs(0, len(tokens), device))
        before = self.before_inner(given.before)
        before = torch.where(given.has_before[:, None, None], before, self.no_before.to(before))
        memories["before"] = _Memory(before, self._freqs(-before.shape[1], before.shape[1], device))
        return memories
