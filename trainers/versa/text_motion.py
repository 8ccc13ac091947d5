"""VersaAnimator's second stage: text to motion tokens."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from models.versa.generate import MotionRequest, generate_all
from models.versa.masking import hidden_tokens, token_loss
from models.versa.spans import RATE
from models.versa.transformer import MotionTransformer
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fps, Fraction
from trainers.stage.base import LossStage, both, build_network, check_chances
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.versa.captions import batch_layout, drop, spans_of
from trainers.versa.frozen import check_tokenizer, find_tokenizer, motion_tokens, same_codes, text_network

TEXT_BRANCH = Section(
    MotionTransformer,
    given=("text_branch", "audio_branch", "fusion", "audio", "speech_channels", "audio_guidance"),
)


class TextMotionStage(LossStage):
    """Trains the text branch to fill in hidden motion tokens (VA-7; Eq. 3, 4).

    Args:
        network: the network's own options.
        tokenizer: run folder, saved network or hub name of the motion tokenizer; only a plan does without.
        drop_text: probability of training without text, for classifier-free guidance.
        fps: frames a second that a plan counts with; a training takes the data's.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or a tokenizer or CLIP model that cannot be used.
    """

    needs: ClassVar[tuple[str, ...]] = ("motion.npz",)
    network: MotionTransformer

    def __init__(
        self,
        *,
        network: Annotated[dict, TEXT_BRANCH] = DEFAULTS,
        tokenizer: str | None = None,
        drop_text: Fraction = 0.1,
        fps: Fps = 20.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(drop_text=drop_text)
        self.drop_text = drop_text
        self.tokenizer = None if tokenizer is None else find_tokenizer(tokenizer)
        self.network = build_network(MotionTransformer, network)
        same_codes(self.tokenizer, self.network.codes)

    def frozen(self) -> dict[str, str]:
        """Also CLIP's text network, where it reads the texts."""
        return super().frozen() | text_network(self.network)

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """There is nothing to normalise; looks whether what a training needs is there."""
        check_tokenizer(self.tokenizer)
        try:
            self.network.read(["a person"])
        except ValueError as error:
            raise ConfigError(f"stage.network.clip_model: {error}") from None

    def figures(self) -> tuple[str, ...]:
        """The loss, the share of hidden tokens that are likeliest, and that of windows with text."""
        return both("loss", "accuracy", "with_text")

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Motion for the texts of the batch's windows, `motion` (B, M, 263)."""
        if self.tokenizer is None:
            return {}
        tokens, lengths = motion_tokens(batch, self.tokenizer)
        texts, layout = batch_layout(batch, tokens, lengths, torch.zeros(len(batch), 2))
        # One window of each, so that all ranks ask the network equally often.
        rows = zip(layout.which.tolist(), lengths.clamp(max=self.network.window).tolist(), strict=True)
        requests = [MotionRequest(spans_of(texts, row[:length]), seconds=length / RATE) for row, length in rows]
        output = generate_all(self.network, requests, seed=self.seed, every_step=True)
        return {"motion": self.tokenizer.decode(output)}

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch; logs it with the share of hidden tokens that are likeliest."""
        random, (tokens, lengths) = self.generator(batch), motion_tokens(batch, self.tokenizer)
        chances = random.uniform(3)
        texts, layout = batch_layout(batch, tokens, lengths, chances[:, :2])
        layout = drop(layout, chances[:, 2] < self.drop_text)
        hidden = hidden_tokens(random.uniform(), random.uniform(tokens.shape[1]), lengths)
        logits = self.network(
            tokens.masked_fill(hidden, self.network.codes),
            layout.places,
            self.network.read(texts, tokens.device),
            layout.which,
            lengths=lengths,
        )
        loss, accuracy = token_loss(logits, tokens, hidden)
        self.log(f"{part}/loss", loss, batch_size=len(batch))
        self.log(f"{part}/accuracy", accuracy, batch_size=len(batch))
        with_text = (layout.which >= 0).any(1).float().mean()  # the others train without text
        self.log(f"{part}/with_text", with_text, batch_size=len(batch))
        return loss
