"""The network that text-to-motion is measured by (VA-17)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from models.versa.evaluator import TextMotionEvaluator
from settings import DEFAULTS, Choice, ConfigError, Section
from trainers.stage.base import LossStage, both, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.versa.captions import batch_layout
from trainers.versa.frozen import FRAMES, motion_lengths, text_network


class EvaluatorStage(LossStage):
    """Trains texts and motions into one space: each motion is to find its own caption among a batch's (VA-17).

    Args:
        network: the network's own options.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together.
    """

    network: TextMotionEvaluator
    needs = ("motion.npz",)

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(TextMotionEvaluator)] = DEFAULTS,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(TextMotionEvaluator, network)

    def frozen(self) -> dict[str, str]:
        """Also CLIP's text network, where it reads the texts."""
        return super().frozen() | text_network(self.network)

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the index's statistics of motion; looks whether the text network is there."""
        try:
            self.network.read(["a person"])
            self.network.set_statistics(dict(statistics))
        except ValueError as error:
            raise ConfigError(f"stage: {error}") from None

    def figures(self) -> tuple[str, ...]:
        """The loss, and the share of motions whose own text is the nearest."""
        return both("loss", "right")

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch; logs it with the share of motions whose own text is the nearest."""
        lengths = motion_lengths(batch)
        counts = torch.div(lengths + FRAMES - 1, FRAMES, rounding_mode="floor")
        size = -(-batch.motion.shape[1] // FRAMES)
        tokens = torch.zeros(len(batch), size, dtype=torch.long, device=batch.motion.device)
        chances = torch.stack(
            [tokens.new_zeros(len(batch)).float(), self.generator(batch).uniform()], 1
        )  # of all of it
        texts, layout = batch_layout(batch, tokens, counts, chances)
        which = layout.which.max(1).values.clamp(min=0)  # a window without a caption is one of somebody who speaks
        loss, right = self.network(batch.motion, lengths, self.network.read(texts, batch.motion.device), which)
        self.log(f"{part}/loss", loss, batch_size=len(batch))
        self.log(f"{part}/right", right, batch_size=len(batch))
        return loss
