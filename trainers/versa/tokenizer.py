"""VersaAnimator's first stage: motion to tokens and back."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor

from models.human.motion import FPS, PARTS
from models.versa.tokenizer import MotionTokenizer, Reconstruction
from models.versa.tokenizer_loss import tokenizer_errors, tokenizer_loss
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import NonNegative
from trainers.stage.base import Stage, both, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.versa.code_use import CodeUse


class TokenizerStage(Stage):
    """Trains the VQ-VAE of motion vectors (VA-3, VA-4; Eq. 2).

    Args:
        network: the network's own options.
        beta: weight of the commitment.
        position_weight: weight of the places of joints.
        velocity_weight: weight of the velocities of joints.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that make no sense, or data without statistics of body motion.
    """

    needs: ClassVar[tuple[str, ...]] = ("motion.npz",)
    full_precision = "distances to codes decide which is taken: compare the use of codes in a short run in fp32"
    network: MotionTokenizer

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(MotionTokenizer)] = DEFAULTS,
        beta: NonNegative = 0.02,
        position_weight: NonNegative = 2.0,
        velocity_weight: NonNegative = 0.2,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(MotionTokenizer, network)
        self.weights = {"beta": beta, "position_weight": position_weight, "velocity_weight": velocity_weight}
        codes = self.network.quantizer.codes
        self.code_use, self.code_perplexity = CodeUse(codes), CodeUse(codes, "perplexity")

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the index's statistics of body motion."""
        try:
            super().use_statistics(statistics)
        except ValueError as error:
            raise ConfigError(
                f"data.shards: {error}; make shards of motion with `python -m preprocessing.motion`"
            ) from None

    def figures(self) -> tuple[str, ...]:
        """The loss and its parts, errors of joints and of the vector's parts, and the use of codes."""
        errors = (f"val/error_{part}" for part in PARTS)
        return (
            *both("loss", "reconstruction", "positions", "velocities", "commitment", "perplexity"),
            *("train/codes_reset", "val/code_use", "val/mpjpe", *errors),
        )

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """The loss of one batch; logs it with its parts."""
        output = self._through(batch, self.generator(batch).uniform(-(-batch.motion.shape[1] // self.network.rate)))
        losses = tokenizer_loss(self.network, output, **self.weights)
        self.log_each("train", losses, len(batch))
        return losses["loss"]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Move the codebook, once for all batches of the step; logs how many codes are in use."""
        quantizer = self.network.quantizer
        quantizer.update()
        self.log("train/perplexity", quantizer.perplexity, batch_size=1)
        self.log("train/codes_reset", float(quantizer.resets), batch_size=1)

    def validation_step(self, batch: Any, batch_index: int) -> Tensor:
        """The same loss on held-out windows, errors of joints and of the vector's parts, and the codes that come."""
        output = self._through(batch)
        losses = tokenizer_loss(self.network, output, **self.weights)
        self.log_each("val", losses | tokenizer_errors(self.network, output), len(batch))
        for name, metric in (("code_use", self.code_use), ("perplexity", self.code_perplexity)):
            metric.update(output.tokens, output.token_mask)
            self.log(f"val/{name}", metric, batch_size=len(batch))
        return losses["loss"]

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """The windows through their tokens and back, `motion` (B, M, 263)."""
        return {"motion": self.network.denormalise(self._through(batch).motion.float())}

    def _through(self, batch: Any, chances: Tensor | None = None) -> Reconstruction:
        return self.network(batch.motion, _lengths(batch), chances)


def _lengths(batch: Any) -> Tensor | None:
    """Motion frames (B,) of each window; None where they are known to be all there are."""
    if batch.lengths is None:
        return None
    longest = batch.motion.shape[1]
    lengths = (batch.lengths / batch.fps * FPS).round().long().clamp(1, longest)
    # On an accelerator a look would wait for the device.
    return None if lengths.device.type == "cpu" and int(lengths.min()) == longest else lengths
