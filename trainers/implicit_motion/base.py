"""Implicit motion's first stage: motion features of frames, and frames of a source picture moved by them."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from models.implicit_motion.base import ImplicitMotion
from models.losses.adversarial import AdversarialLoss
from models.losses.reconstruction import ReconstructionLoss
from models.losses.threshold import threshold_loss
from settings import DEFAULTS, Choice, Section
from settings.ranges import Count, NonNegative
from trainers.implicit_motion.pictures import pixels
from trainers.stage.adversarial import AdversarialStage, compare_pictures
from trainers.stage.agreement import Expected, picture_size
from trainers.stage.base import both, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.pictures import moved, picked, psnr
from trainers.stage.schedules import SCHEDULES


class BaseStage(AdversarialStage):
    """Trains the base network as an autoencoder across frames of a clip (IM-10, IM-11; Eq. 3).

    A source frame and some driving frames come from one window; the network rebuilds the driving frames from the source
    and their motion features. The discriminator has an optimiser of its own.

    Args:
        network: the network's own options.
        frames: driving frames of each window in a step.
        reconstruction: "vgg19" is the paper's perceptual loss and needs weights; "structural" and "l1" need none.
        vgg_weights: file or hub name of VGG-19's weights.
        adversarial: kind of the adversarial loss.
        motion_weight: how much more pixels count in which source and driving frame differ: 1 + motion_weight times the
            difference in units of its mean over the frame (ours); 0 counts all the same.
        reconstruction_weight: a1 of Eq. 3.
        adversarial_weight: a2 of Eq. 3.
        threshold_weight: a3 of Eq. 3.
        threshold: tau; differences of motion features below it count nothing (IM-11).
        discriminator_width: channels of the discriminator's first convolution.
        discriminator_layers: its convolutions that halve the picture.
        optimizer: optimiser of both networks and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or VGG-19 without weights.
    """

    needs: ClassVar[tuple[str, ...]] = ("video.mp4",)
    full_precision = "the coordinates of warps have 8 bits in bf16, half a pixel of 128: compare a short run in fp32"
    network: ImplicitMotion

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(ImplicitMotion)] = DEFAULTS,
        frames: Count = 4,
        reconstruction: ReconstructionLoss = "vgg19",
        vgg_weights: str | None = None,
        adversarial: AdversarialLoss = "hinge",
        motion_weight: NonNegative = 0.0,
        reconstruction_weight: NonNegative = 10.0,
        adversarial_weight: NonNegative = 1.0,
        threshold_weight: NonNegative = 1.0,
        threshold: NonNegative = 0.05,
        discriminator_width: Count = 64,
        discriminator_layers: Count = 4,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(ImplicitMotion, network)
        self.judged_by(adversarial, discriminator_width, discriminator_layers)
        self.reconstruction = compare_pictures(reconstruction, vgg_weights)
        self.frames, self.threshold, self.motion_weight = frames, threshold, motion_weight
        self.weights = {
            "reconstruction": reconstruction_weight, "adversarial": adversarial_weight, "threshold": threshold_weight,
        }  # fmt: skip

    def expects(self) -> list[Expected]:
        """The size of pictures."""
        size = self.network.image_size
        return [picture_size(size, f"stage.network.image_size is {size}")]

    def figures(self) -> tuple[str, ...]:
        """The losses that count, the threshold loss in validation always; PSNR."""
        losses = both("loss", "reconstruction", *(["adversarial"] if self.weights["adversarial"] else []))
        threshold = both("threshold") if self.weights["threshold"] > 0 else ("val/threshold",)
        return (*losses, *threshold, "train/discriminator", "val/psnr", "val/psnr_source")

    def training_step(self, batch: Any, batch_index: int) -> None:
        """One step of the network and one of the discriminator."""
        image, driving = self._frames(batch)
        with self.only("network"):
            output = self.network(image, driving, reencode=self.weights["threshold"] > 0)
            losses = self._losses(output, image, driving)
            self.update("network", losses["loss"])
        judged = self.judge(driving.flatten(0, 1), output["frames"].flatten(0, 1))
        self.log_each("train", losses | {"discriminator": judged}, len(batch))

    def validation_step(self, batch: Any, batch_index: int) -> Tensor:
        """The network's loss on held-out windows, and PSNR beside that of the source frame held."""
        image, driving = self._frames(batch)
        output = self.network(image, driving, reencode=True)
        truth = driving.flatten(0, 1)
        losses = self._losses(output, image, driving)
        held = image[:, None].expand_as(driving).flatten(0, 1)
        losses |= {"psnr": psnr(output["frames"].flatten(0, 1), truth), "psnr_source": psnr(held, truth)}
        self.log_each("val", losses, len(batch))
        return losses["loss"]

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """The windows rebuilt from their first frames, `video` (B, T, 3, S, S) in [0, 1]."""
        video = pixels(batch.video, self.network)
        source = self.network.encode_source(video[:, 0])
        output = []
        for frames in video.split(8, 1):  # as many as fit beside a training step
            motion = self.network.encode_motion(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            output.append(self.network.render(source, motion))
        return {"video": torch.cat(output, 1)}

    def _frames(self, batch: Any) -> tuple[Tensor, Tensor]:
        """A source frame (B, 3, S, S) and driving frames (B, N, 3, S, S) of each window, in [0, 1].

        In training any frames; in validation the first, and others spread evenly.
        """
        chosen = picked(batch, self.frames + 1, self.generator(batch) if self.training else None)
        rows = torch.arange(len(batch), device=chosen.device)[:, None]
        frames = pixels(batch.video[rows, chosen], self.network)
        return frames[:, 0], frames[:, 1:]

    def _losses(self, outputs: dict[str, Tensor], image: Tensor, driving: Tensor) -> dict[str, Tensor]:
        """The network's loss and its parts (Eq. 3), for a source (B, 3, S, S) and driving frames (B, N, 3, S, S)."""
        frames, weight = outputs["frames"].flatten(0, 1), moved(driving, image, self.motion_weight)
        losses = {"reconstruction": self.reconstruction(frames, driving.flatten(0, 1), weight)}
        if self.weights["adversarial"]:
            losses["adversarial"] = self.fooled(frames)
        if "reencoded" in outputs:
            wanted = outputs["motion"].detach().flatten(0, 1)
            losses["threshold"] = threshold_loss(wanted, outputs["reencoded"].flatten(0, 1), self.threshold)
        total = sum(self.weights[name] * loss for name, loss in losses.items())
        return {"loss": total, **losses}  # type: ignore[dict-item]
