"""The pose autoencoder that FGD and Diversity are measured on (MMGT-23)."""

from typing import Annotated, Any, ClassVar

from torch import Tensor

from models.human.autoencoder import PoseAutoencoder
from settings import DEFAULTS, Choice, Section
from trainers.stage.agreement import Expected, window_length
from trainers.stage.base import Stage, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES


class PoseAutoencoderStage(Stage):
    """Learns to bring windows of poses back through a narrow vector (MMGT-23); `metrics.FGD` reads that vector.

    Args:
        network: the network's own options.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.
    """

    needs: ClassVar[tuple[str, ...]] = ("pose.npz",)

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(PoseAutoencoder)] = DEFAULTS,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network: PoseAutoencoder = build_network(PoseAutoencoder, network)

    def expects(self) -> list[Expected]:
        """The window."""
        return [window_length(self.network.window)]

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Mean squared error of the standardised coordinates that are there."""
        loss = self.network(batch.pose)
        self.log("train/loss", loss, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> Tensor:
        """The same loss on held-out windows."""
        loss = self.network(batch.pose)
        self.log("val/loss", loss, batch_size=len(batch))
        return loss

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """The windows after the bottleneck, with the scores that they came with."""
        pose = batch.pose.clone()
        pose[..., :2] = self.network.reconstruct(batch.pose)
        return {"pose": pose}
