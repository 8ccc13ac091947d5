"""VersaAnimator's third stage: speech to motion tokens, beside the frozen text branch."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from models.versa.generate import MotionRequest, generate_all
from models.versa.masking import hidden_tokens, token_loss
from models.versa.spans import RATE, speech_layout
from models.versa.text import SPEECH
from models.versa.transformer import MotionTransformer
from pretrained.exports import find_stage, load_network
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fps, Fraction
from trainers.stage.agreement import Expected
from trainers.stage.base import LossStage, both, build_network, check_chances
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.versa.frozen import (
    TEXT_MOTION,
    check_tokenizer,
    find_tokenizer,
    motion_tokens,
    same_codes,
    same_tokenizer,
    text_network,
)


class AudioMotionStage(LossStage):
    """Trains the audio branch under the text "A person is giving a speech." (VA-8; Eq. 5).

    The text branch is frozen. In the windows of which nothing is shown, the loss is the cross-entropy of each motion
    token, as in Eq. 5. The others (**ours**) show some of their tokens, as unmasking does from its second step on, and
    the loss is of those that are hidden.

    Args:
        network: the network's own options.
        tokenizer: run folder, saved network or hub name of the motion tokenizer; only a plan does without.
        text_motion: the same of the trained text branch; only a plan does without.
        shown: share of the windows that show some of their tokens; 0 is Eq. 5 alone.
        drop_audio: probability of training without speech where there is no text branch.
        fps: frames a second that a plan counts with; a training takes the data's.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or an earlier stage's network that cannot be used.
    """

    network: MotionTransformer

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(MotionTransformer, given=("audio_branch", "text_dropout"))] = DEFAULTS,
        tokenizer: str | None = None,
        text_motion: str | None = None,
        shown: Fraction = 0.5,
        drop_audio: Fraction = 0.1,
        fps: Fps = 20.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(shown=shown, drop_audio=drop_audio)
        text_branch = network.get("text_branch", True)
        if text_motion is not None and not text_branch:
            raise ConfigError(
                "stage.text_motion is given, but stage.network.text_branch=false leaves it out: drop one of them"
            )
        self.needs = ("motion.npz", "speech.npz", "audio.flac")  # type: ignore[misc]
        self.shown, self.drop_audio = shown, drop_audio
        self.trained_text = ""  # hash of the network that the text branch comes from
        self.tokenizer = None if tokenizer is None else find_tokenizer(tokenizer)
        if tokenizer is not None and text_motion is not None:
            same_tokenizer(tokenizer, text_motion)
        self.network = build_network(MotionTransformer, network, audio_branch=True)
        same_codes(self.tokenizer, self.network.codes)
        try:
            if text_motion is not None:
                trained = find_stage(text_motion, "text_motion", *TEXT_MOTION)
                with torch.device("cpu"):
                    other = load_network(MotionTransformer, trained)
                self.network.take_text_branch(other)
                self.trained_text = trained.sha256
            elif text_branch:
                self.network.take_text_branch(self.network)
        except ValueError as error:
            raise ConfigError(f"stage: {error}") from None

    def expects(self) -> list[Expected]:
        """As many speech features as the audio branch reads."""
        reader = self.network.hearing.audio
        layers = reader.kind == "layers"
        kept = "" if layers else "; hand-crafted ones are always as many"
        return [
            Expected(
                "layer_channels" if layers else "speech_channels",
                reader.channels,
                f"stage.network.speech_channels is {reader.channels} (stage.network.audio={reader.kind})",
                "the clips of data.shards have {} such features" + (" (0: no pretrained model's)" if layers else ""),
                "set stage.network.speech_channels={}, or make them in preprocessing with "
                '"speech=[{{name: transformers, model: FOLDER}}]"' + kept,
            )
        ]

    def frozen(self) -> dict[str, str]:
        """Also the text branch, which is part of the network, and CLIP's text network, where it reads the texts."""
        branch = {"text_motion": self.trained_text} if self.trained_text else {}
        return super().frozen() | branch | (text_network(self.network) if self.network.text is not None else {})

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the index's statistics of speech; looks whether what a training needs is there."""
        check_tokenizer(self.tokenizer)
        if self.network.text is not None and not self.trained_text:
            raise ConfigError(
                "stage.text_motion is missing: give the run folder of a trained versa.text_motion, or leave the text "
                "branch out with stage.network.text_branch=false"
            )
        try:
            self.network.read([SPEECH])
        except ValueError as error:
            raise ConfigError(f"stage.network.clip_model: {error}") from None
        super().use_statistics(statistics)

    def figures(self) -> tuple[str, ...]:
        """The loss, and the share of hidden tokens that are likeliest."""
        return both("loss", "accuracy")

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Motion for the speech of the batch's windows, `motion` (B, M, 263)."""
        if self.tokenizer is None:
            return {}
        audio, steps = self._speech(batch)
        lengths = motion_tokens(batch, None)[1].clamp(max=self.network.window)  # ranks ask the network equally often
        requests = [
            MotionRequest(None, row[..., :count, :].float().cpu(), length / RATE, batch.fps)
            for row, count, length in zip(audio, steps.tolist(), lengths.tolist(), strict=True)
        ]
        output = generate_all(self.network, requests, seed=self.seed, every_step=True)
        return {"motion": self.tokenizer.decode(output)}

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch; logs it with the share of hidden tokens that are likeliest."""
        random, (tokens, lengths) = self.generator(batch), motion_tokens(batch, self.tokenizer)
        chances = random.uniform(3)
        share = torch.where(chances[:, 1] < self.shown, chances[:, 0], 0)
        hidden = hidden_tokens(share, random.uniform(tokens.shape[1]), lengths)
        audio, heard = self._speech(batch)
        layout = speech_layout(tokens)
        network, text = self.network, {}
        if network.text is not None:
            text = {"text": network.read([SPEECH], tokens.device), "which": layout.which}
        else:
            text = {"drop_audio": chances[:, 2] < self.drop_audio}
        logits = network(
            tokens.masked_fill(hidden, network.codes),
            layout.places,
            audio=audio,
            lengths=lengths,
            heard=heard,
            fps=batch.fps,
            **text,
        )
        loss, accuracy = token_loss(logits, tokens, hidden)
        self.log(f"{part}/loss", loss, batch_size=len(batch))
        self.log(f"{part}/accuracy", accuracy, batch_size=len(batch))
        return loss

    def _speech(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Features of the batch's speech, and how many steps (B,) of each window count."""
        reader = self.network.hearing.audio
        kind = reader.kind
        features = batch.speech if kind == "handcrafted" else batch.speech_layers
        if features is None:
            raise ConfigError(
                "stage.network.audio=layers, but the clips have no features of a pretrained model; make them in "
                'preprocessing with "speech=[{name: transformers, model: FOLDER}]", or take '
                "stage.network.audio=handcrafted"
            )
        if features.shape[-1] != reader.channels:
            raise ConfigError(
                f"stage.network.speech_channels is {reader.channels}, but the clips give {features.shape[-1]}; "
                f"set stage.network.speech_channels={features.shape[-1]}"
            )
        steps = features.shape[-2]
        if batch.lengths is None:
            return features, torch.full((len(batch),), steps, device=features.device)
        rate = 1.0 if kind == "handcrafted" else 50 / batch.fps
        return features, (batch.lengths * rate).round().long().clamp(1, steps)
