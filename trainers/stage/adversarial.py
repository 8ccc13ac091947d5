"""Stages whose pictures a discriminator judges: its optimiser steps beside the network's (IM-10)."""

from typing import Annotated

from torch import Tensor, nn

from models.layers.discriminator import PatchDiscriminator
from models.losses.adversarial import AdversarialLoss, discriminator_loss, generator_loss
from models.losses.reconstruction import ReconstructionLoss, build_reconstruction_loss
from pretrained.vgg import vgg_features
from settings import Choice, ConfigError
from trainers.stage.base import Stage
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES

COMPARED = ("reconstruction", "perceptual")
"""What a stage calls the loss that compares its pictures with the true ones."""


class AdversarialStage(Stage):
    """Trains a network that makes pictures and a discriminator that judges them, each by an optimiser of its own.

    A subclass sets `network`, makes the discriminator with `judged_by`, and steps the first itself and the second with
    `judge`. Where it makes none, it is a stage with one optimiser.

    Args:
        optimizer: optimiser of each and its options.
        schedule: learning-rate schedule and its options.
    """

    adversarial: AdversarialLoss
    discriminator: PatchDiscriminator | None

    def __init__(
        self,
        *,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.discriminator = None

    def judged_by(self, adversarial: AdversarialLoss, width: int, layers: int) -> None:
        """Make the discriminator.

        Args:
            adversarial: kind of the adversarial loss.
            width: channels of its first convolution.
            layers: its convolutions that halve the picture.

        Raises:
            ConfigError: sizes that it cannot have.
        """
        self.automatic_optimization, self.adversarial = False, adversarial
        try:
            self.discriminator = PatchDiscriminator(width=width, layers=layers)
        except ValueError as error:
            raise ConfigError(f"stage: {error}") from None

    def parts(self) -> dict[str, nn.Module]:
        network: dict[str, nn.Module] = {"network": self.network}
        return network if self.discriminator is None else {**network, "discriminator": self.discriminator}

    def frozen(self) -> dict[str, str]:
        """VGG-19 by the option that says where it is, and what else a stage holds."""
        held = super().frozen().items()
        return {"vgg_weights" if name.split(".")[0] in COMPARED else name: sha256 for name, sha256 in held}

    def fooled(self, frames: Tensor) -> Tensor:
        """The network's adversarial loss of generated frames (R, 3, H, W)."""
        assert self.discriminator is not None  # who has none asks for no such loss
        return generator_loss(self.adversarial, self.discriminator(frames).logits)

    def judge(self, truth: Tensor, frames: Tensor) -> Tensor:
        """One step of the discriminator; its loss of true and generated frames (R, 3, H, W)."""
        assert self.discriminator is not None
        with self.only("discriminator"):
            real, generated = (self.discriminator(each).logits for each in (truth, frames.detach()))
            loss = discriminator_loss(self.adversarial, real, generated)
            self.update("discriminator", loss)
        return loss


def compare_pictures(kind: ReconstructionLoss, vgg_weights: str | None) -> nn.Module:
    """The loss of a stage's options: (generated, target, weight=None) to a scalar, for frames (R, 3, H, W) in [0, 1].

    Args:
        kind: its name.
        vgg_weights: file or hub name of VGG-19's weights, for "vgg19".

    Raises:
        ConfigError: VGG-19 without weights, or weights for another loss.
    """
    try:
        if vgg_weights is not None and kind != "vgg19":
            raise ValueError(f"the loss '{kind}' takes no weights; 'vgg19' does")
        return build_reconstruction_loss(kind, vgg_features(vgg_weights) if kind == "vgg19" else None)
    except ValueError as error:
        raise ConfigError(f"stage: {error}") from None
