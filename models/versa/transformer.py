"""The motion generator: a transformer over text and one over speech, summed layer by layer (VA-6)."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.layers.dropout import BranchDropout, Draw
from models.layers.rotary import rotary_freqs
from models.layers.transformer import EncoderLayer
from models.saved import SavedNetwork
from models.versa.audio import HANDCRAFTED, AudioTokens
from models.versa.branches import AudioBranch, Branch, TextBranch, sines
from models.versa.spans import NONE
from models.versa.text import WordEncoder, read_texts
from settings.ranges import Count, Decay, NonNegative, Whole


class Guidance(NamedTuple):
    """Weights of classifier-free guidance (VA-9): l + text (l_text - l) + audio (l_both - l_text).

    Attributes:
        text: weight of the text; 1 asks for no guidance.
        audio: (B, N) or a number, weight of the speech at each token; 0 leaves it out.
    """

    text: float
    audio: Tensor | float

    def of_audio(self) -> Tensor | float:
        """The weight of the speech for logits (B, N, codes)."""
        return self.audio[..., None] if isinstance(self.audio, Tensor) else self.audio


class _Frame(NamedTuple):
    """What both branches share: tokens (B, N), sines of places, rotary frequencies, where is no padding."""

    tokens: Tensor
    sines: Tensor
    freqs: Tensor
    mask: Tensor | None

    def twice(self) -> "_Frame":
        """Every sequence two times, one batch behind the other."""
        pairs = [None if x is None else torch.cat([x, x]) for x in (self.tokens, self.sines, self.mask)]
        return _Frame(pairs[0], pairs[1], self.freqs, pairs[2])  # type: ignore[arg-type]


class _Speech(NamedTuple):
    """Speech as `AudioTokens` takes it."""

    features: Tensor
    tokens: int
    lengths: Tensor | None
    heard: Tensor | None
    fps: float | None


class MotionTransformer(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "versa", "versa.audio_motion"],
    license="other",
):
    """Tokens of motion from text, from speech, or from both (VA-6 to VA-9).

    Both branches read the motion tokens, hidden ones as a mask token. The text branch runs by itself: h_t^l is the
    output of its l-th layer. The audio branch's l-th layer reads the sum of both branches' outputs and adds what it
    makes of it to the branch's own stream, so that f^l = h_t^l + h_a^l with h_a^l = h_a^{l-1} + A_l(f^{l-1}); the last
    sum goes through a linear layer to the probabilities of the codes (Eq. 1). How the sums are fed on is **ours**, the
    paper says that the branches are summed layer by layer. With `fusion="last"` a layer reads h_a^{l-1} alone, and only
    the last outputs are summed (ablation).

    Where a token stands in the span of its text enters both branches (ours): hidden tokens under one text would all be
    alike without it.

    Args:
        codes: entries of the codebook.
        width: channels of both branches.
        layers: layers of each branch.
        heads: attention heads.
        feedforward: hidden channels of feed-forwards.
        dropout: probability of dropout on residual branches.
        text_branch: false leaves the text branch out (ablation).
        audio_branch: whether there is an audio branch; a text-to-motion network has none.
        fusion: "layer", or "last" sums the last features only (ablation).
        text: "words", an encoder trained with the branch, or "clip", a pretrained network.
        clip_model: folder or hub name of the CLIP model.
        text_channels: channels of the CLIP model's text vectors.
        text_buckets: vectors that "words" has for pieces of words.
        text_layers: transformer layers of "words".
        text_dropout: share of the words that training leaves out, with "words".
        audio: "handcrafted" features at the clip's frame rate, or "layers" of a pretrained model at 50 Hz (VA-5).
        speech_channels: features a step.
        window: tokens generated at once.
        steps: steps of unmasking, unless told otherwise.
        temperature: of sampling, unless told otherwise.
        guidance: weight of classifier-free guidance by text, unless told otherwise.
        audio_guidance: the same by speech.

    Raises:
        ValueError: sizes that do not go together, neither branch, or a CLIP model that cannot be loaded.
    """

    def __init__(
        self,
        *,
        codes: Count = 512,
        width: Count = 512,
        layers: Count = 8,
        heads: Count = 8,
        feedforward: Count = 1024,
        dropout: Decay = 0.1,
        text_branch: bool = True,
        audio_branch: bool = False,
        fusion: Literal["layer", "last"] = "layer",
        text: Literal["words", "clip"] = "words",
        clip_model: str = "openai/clip-vit-base-patch32",
        text_channels: Count = 512,
        text_buckets: Count = 8192,
        text_layers: Whole = 2,
        text_dropout: Decay = 0.0,
        audio: Literal["handcrafted", "layers"] = "handcrafted",
        speech_channels: Count = HANDCRAFTED,
        window: Count = 50,
        steps: Count = 10,
        temperature: NonNegative = 1.0,
        guidance: NonNegative = 2.0,
        audio_guidance: NonNegative = 1.5,
    ):
        super().__init__()
        for name, value, known in (
            ("fusion", fusion, ("layer", "last")), ("text", text, ("words", "clip")),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name} has to be one of {', '.join(known)}, got '{value}'")
        if not (text_branch or audio_branch):
            raise ValueError("a network without text_branch needs audio_branch=true: nothing would direct the motion")
        if window < 2 or steps < 1:
            raise ValueError(f"window has to be 2 tokens or more and steps 1 or more, got {window} and {steps}")
        self.codes, self.fusion, self.head_width = codes, fusion, width // heads
        self.text_kind, self.clip_model, self.text_buckets = text, clip_model, text_buckets
        self.text_channels = text_channels
        self.window, self.steps, self.temperature = window, steps, temperature
        self.guidance, self.audio_guidance = guidance, audio_guidance
        sizes = (codes, width, layers, heads, feedforward)
        self.text: TextBranch | None = None
        self.audio: AudioBranch | None = None
        if text_branch:
            encoder = (
                WordEncoder(text_buckets, width, text_layers, heads, text_dropout)
                if text == "words"
                else nn.Linear(text_channels, width)
            )
            self.text = TextBranch(encoder, *sizes)
        if audio_branch:
            self.audio = AudioBranch(AudioTokens(audio, speech_channels, width), *sizes)
            if self.text is None:
                self.no_audio = nn.Parameter(torch.randn(width) * 0.02)
        self.dropout = BranchDropout(dropout)
        self._checkpointing = False

    @property
    def hearing(self) -> AudioBranch:
        """The audio branch. Raises ValueError where there is none."""
        if self.audio is None:
            raise ValueError("this network has no audio branch: train one with versa.audio_motion")
        return self.audio

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take the statistics of an index: "handcrafted", where there is an audio branch."""
        if self.audio is not None:
            self.audio.audio.set_statistics(statistics)

    def take_text_branch(self, other: "MotionTransformer") -> None:
        """Take the trained text branch of another network and freeze it; the audio branch begins as nothing beside it.

        Raises:
            ValueError: the other has none, or one of other sizes.
        """
        if self.text is None or other.text is None:
            raise ValueError("there is no text branch to take over")
        own, given = (
            {name: tuple(p.shape) for name, p in branch.named_parameters()} for branch in (self.text, other.text)
        )
        if own != given or (self.text_kind == "clip") != (other.text_kind == "clip"):
            name = next((name for name in {**own, **given} if own.get(name) != given.get(name)), "encoder")
            raise ValueError(
                f"the text branch has other sizes than this network ({name}: {given.get(name)}, here {own.get(name)}); "
                "give the same codes, width, layers, heads, feedforward and text options"
            )
        self.text.load_state_dict(other.text.state_dict())
        if self.audio is not None:
            self.audio.start_as_nothing(self.text)
            self.text.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; a frozen text branch stays in evaluation mode."""
        super().train(mode)
        if self.text is not None and not any(p.requires_grad for p in self.text.parameters()):
            self.text.eval()
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the layers' activations in the backward pass, to save memory."""
        self._checkpointing = True

    def read(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """Texts as `forward` takes them: pieces of words, or CLIP's vectors.

        Raises:
            ValueError: an empty text, or a CLIP model that cannot be loaded or has other channels.
        """
        return read_texts(texts, self.text_kind, self.text_buckets, self.clip_model, self.text_channels, device)

    def forward(
        self,
        tokens: Tensor,
        places: Tensor,
        text: Tensor | None = None,
        which: Tensor | None = None,
        audio: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        heard: Tensor | None = None,
        fps: float | None = None,
        drop_audio: Tensor | None = None,
        guidance: Guidance | None = None,
    ) -> Tensor:
        """Logits of the codes at every token (Eq. 1).

        Args:
            tokens: (B, N) long, motion tokens; `codes` where hidden.
            places: (B, N, 2), from `models.versa.spans`.
            text: K texts, from `read`.
            which: (B, N) which text holds at a token, -1 where none.
            audio: (B, S, C) speech features, see `AudioTokens`; None gives what the text branch alone says.
            lengths: (B,) tokens of each sequence, the rest is padding; all N where None.
            heard: (B,) steps of each sequence's speech features; all S where None.
            fps: frames a second of hand-crafted features; 20 where None.
            drop_audio: (B,) bool, true where "no audio" stands in for the speech; without a text branch only.
            guidance: weights of classifier-free guidance; None gives the logits of text and speech as they are.

        Returns:
            (B, N, codes).

        Raises:
            ValueError: speech without an audio branch, or a text branch without texts.
        """
        length = tokens.shape[1]
        mask = None if lengths is None else torch.arange(length, device=tokens.device) < lengths[:, None]
        frame = _Frame(tokens, sines(places), rotary_freqs(length, self.head_width, tokens.device), mask)
        speech = None if audio is None else _Speech(audio, length, lengths, heard, fps)
        if self.text is None:
            return self._audio_alone(frame, speech, drop_audio, guidance)
        if text is None or which is None:
            raise ValueError("the text branch needs texts, and which of them holds where; -1 is none")
        without = guidance is not None and guidance.text != 1
        if without:
            which = torch.cat([which, torch.full_like(which, NONE)])
        states = self._run(self.text, frame.twice() if without else frame, self.text.condition(text, which))
        logits = self.text.predict(states[-1])
        if guidance is None:
            return logits if speech is None else self._both(frame, speech, states)
        batch = len(tokens)
        directed = output = logits[:batch]
        if without:
            output = logits[batch:] + guidance.text * (directed - logits[batch:])
        if speech is None:
            return output
        return output + guidance.of_audio() * (
            self._both(frame, speech, [state[:batch] for state in states]) - directed
        )

    def _both(self, frame: _Frame, speech: _Speech, states: list[Tensor]) -> Tensor:
        """Logits of both branches, from the text branch's first input and its layers' outputs."""
        branch = self.hearing
        beside = states[:-1] if self.fusion == "layer" else None
        last = self._run(branch, frame, branch.audio(*speech), beside)[-1]
        return branch.predict(last + states[-1])

    def _audio_alone(
        self, frame: _Frame, speech: _Speech | None, drop_audio: Tensor | None, guidance: Guidance | None
    ) -> Tensor:
        """Logits of a network without a text branch."""
        branch = self.hearing
        nothing = self.no_audio.expand(*frame.tokens.shape, -1)
        heard = nothing if speech is None else branch.audio(*speech)
        if drop_audio is not None:
            heard = torch.where(drop_audio[:, None, None], nothing, heard)
        if guidance is None or speech is None:
            return branch.predict(self._run(branch, frame, heard)[-1])
        both = self._run(branch, frame.twice(), torch.cat([heard, nothing]))[-1]
        directed, base = branch.predict(both).chunk(2)
        return base + guidance.of_audio() * (directed - base)

    def _run(
        self, branch: Branch, frame: _Frame, condition: Tensor, beside: list[Tensor] | None = None
    ) -> list[Tensor]:
        """The first input of a branch and its layers' outputs, each (B, N, W).

        Args:
            branch: which.
            frame: tokens and what goes with them.
            condition: (B, N, W).
            beside: (B, N, W) for each layer, what the layer reads beside the branch's own stream: the other's outputs.
        """
        x = branch.begin(frame.tokens, condition, frame.sines)
        dropout = _NO_DROPOUT
        if branch.training:
            dropout = self.dropout.draw(x, len(branch.layers) * EncoderLayer.PLACES)
        states = [x]
        for number, layer in enumerate(branch.layers):
            other = None if beside is None else beside[number]
            read = x if other is None else x + other
            inputs = (read, frame.freqs, dropout, number * EncoderLayer.PLACES, frame.mask)
            if self._checkpointing and branch.training:
                output = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                output = layer(*inputs)
            x = output if other is None else output - other
            states.append(x)
        return states


_NO_DROPOUT: Final = Draw(0.0, None, [])
