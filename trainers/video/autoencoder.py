"""The autoencoder of latent video, trained on the user's own frames."""

from typing import Annotated, Any

import torch
from torch import Tensor

from models.losses.adversarial import AdversarialLoss
from models.losses.pixels import divergence, edge_error, pixel_error
from models.losses.reconstruction import ReconstructionLoss
from models.video.autoencoder import Rebuilt, VideoAutoencoder
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, NonNegative, Pixels, Whole
from trainers.stage.adversarial import AdversarialStage, compare_pictures
from trainers.stage.base import both, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.pictures import psnr
from trainers.stage.schedules import SCHEDULES
from trainers.video.autoencoder_base import trained_on
from trainers.video.pictures import frames_of

SHOWN = 8
"""Frames that are rebuilt together for a sample, to fit beside a training step."""


class AutoencoderStage(AdversarialStage):
    """Trains a KL autoencoder of frames (Rombach et al. 2022), from the beginning or on from a published one.

    Frames are rebuilt from latents drawn from their posterior. The loss is reconstruction_weight times a perceptual
    loss, l1_weight times the mean error of the pixels, edge_weight times that of the differences of neighbours,
    kl_weight times KL(posterior, N(0, 1)) in nats per number of a latent, and, where it has a weight, what a patch
    discriminator says, which then has an optimiser of its own. The deviation of the latents is measured on the way:
    1 / deviation is the export's `scaling_factor`.

    Args:
        network: the network's own options; with `base` all but scaling_factor are the base's.
        base: autoencoder to go on from: a run of this stage, a folder of diffusers' AutoencoderKL or
            AutoencoderKLTemporalDecoder, or a hub name.
        frames: frames of each window in a step; consecutive ones where the decoder mixes them.
        crop: sides of the random square that is cut from each frame in training, in pixels; whole frames where null.
        reconstruction: "vgg19" compares features of VGG-19 and needs weights; "structural" and "l1" need none.
        vgg_weights: file or hub name of VGG-19's weights.
        reconstruction_weight: weight of that loss.
        l1_weight: weight of the mean absolute error of pixels in [0, 1].
        edge_weight: weight of the same of differences of neighbours.
        kl_weight: weight of the divergence.
        region_weight: how much more pixels of face, hands and, twice, lips count (ours), for which pose.npz is read;
            0 is not at all.
        adversarial: kind of the adversarial loss.
        adversarial_weight: its weight; 0 is no discriminator.
        adversarial_start: batches before the discriminator has a say.
        discriminator_width: channels of the discriminator's first convolution.
        discriminator_layers: its convolutions that halve the picture.
        optimizer: optimiser (of each of both networks) and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, no such base, or VGG-19 without weights.
    """

    full_precision = "16 bits leave a banding in smooth walls that the eye sees: compare a short run in fp32"
    network: VideoAutoencoder

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(VideoAutoencoder)] = DEFAULTS,
        base: str | None = None,
        frames: Count = 1,
        crop: Pixels | None = None,
        reconstruction: ReconstructionLoss = "structural",
        vgg_weights: str | None = None,
        reconstruction_weight: NonNegative = 1.0,
        l1_weight: NonNegative = 1.0,
        edge_weight: NonNegative = 1.0,
        kl_weight: NonNegative = 1e-5,
        region_weight: NonNegative = 0.0,
        adversarial: AdversarialLoss = "hinge",
        adversarial_weight: NonNegative = 0.0,
        adversarial_start: Whole = 0,
        discriminator_width: Count = 64,
        discriminator_layers: Count = 3,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(VideoAutoencoder, network) if base is None else trained_on(base, network)
        self.reconstruction = compare_pictures(reconstruction, vgg_weights)
        if adversarial_weight:
            self.judged_by(adversarial, discriminator_width, discriminator_layers)
        self.frames, self.crop, self.region_weight = frames, crop, region_weight
        self.adversarial_start = adversarial_start
        self.weights = {
            "reconstruction": reconstruction_weight, "l1": l1_weight, "edges": edge_weight, "kl": kl_weight,
            "adversarial": adversarial_weight,
        }  # fmt: skip
        if not any(self.weights[name] for name in ("reconstruction", "l1", "edges")):
            raise ConfigError("stage: one of reconstruction_weight, l1_weight and edge_weight has to be above 0")
        self.needs = ("video.mp4", "pose.npz") if region_weight else ("video.mp4",)  # type: ignore[misc]

    def figures(self) -> tuple[str, ...]:
        """The losses that have a weight; PSNR of whole frames and, with poses, of face and hands."""
        losses = both("loss", *(name for name, weight in self.weights.items() if weight))
        regions = ("val/psnr_regions",) if self.region_weight else ()
        judged = () if self.discriminator is None else ("train/discriminator",)
        return (*losses, *judged, "val/psnr", *regions)

    def training_step(self, batch: Any, batch_index: int) -> Tensor | None:
        """One step of the autoencoder and, where there is one, of the discriminator."""
        truth, weight = self._frames(batch)
        if self.discriminator is None:
            _, losses = self._rebuild(batch, truth, weight)
            self.log_each("train", losses, len(batch))
            return losses["loss"]
        with self.only("network"):
            rebuilt, losses = self._rebuild(batch, truth, weight)
            self.update("network", losses["loss"])
        judged = self.judge(truth, rebuilt.frames)
        self.log_each("train", {**losses, "discriminator": judged}, len(batch))
        return None

    def validation_step(self, batch: Any, batch_index: int) -> Tensor:
        """The loss on held-out frames, and PSNR of what comes back of their most likely latents."""
        truth, weight = self._frames(batch)
        _, losses = self._rebuild(batch, truth, weight)
        rebuilt = self.network(truth, together=self.frames).frames.clamp(0, 1)
        losses["psnr"] = psnr(rebuilt, truth)
        if weight is not None:
            losses["psnr_regions"] = psnr(rebuilt, truth, weight > 1)
        self.log_each("val", losses, len(batch))
        return losses["loss"]

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """The windows rebuilt from their most likely latents, `video` (B, T, 3, H, W) in [0, 1]."""
        parts = [part for window in batch.video for part in window.split(SHOWN)]
        rebuilt = [self.network(part.contiguous().float() / 255).frames.clamp(0, 1) for part in parts]
        return {"video": torch.cat(rebuilt).unflatten(0, batch.video.shape[:2])}

    def _frames(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Frames of each window and what their pixels count; in training any frames and any places."""
        random = self.generator(batch) if self.training else None
        return frames_of(batch, self.frames, random, self.network.temporal, self.region_weight, self.crop)

    def _rebuild(self, batch: Any, truth: Tensor, weight: Tensor | None) -> tuple[Rebuilt, dict[str, Tensor]]:
        """What the autoencoder makes of frames, its loss and the parts of it."""
        factor, channels = self.network.downscaling, self.network.latent_channels
        rows, columns = (-(-side // factor) for side in truth.shape[-2:])
        noise = self.generator(batch).normal(self.frames, channels, rows, columns).flatten(0, 1)
        rebuilt: Rebuilt = self.network(truth, noise, self.frames)
        if self.training and self.network.fixed is None:
            self._measure(rebuilt)
        losses = self._losses(rebuilt, truth, weight)
        total = sum(self.weights[name] * loss for name, loss in losses.items())
        return rebuilt, {"loss": total, **losses}  # type: ignore[dict-item]

    def _losses(self, rebuilt: Rebuilt, truth: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
        frames, losses = rebuilt.frames, {}
        if self.weights["reconstruction"]:
            losses["reconstruction"] = self.reconstruction(frames, truth, weight)
        if self.weights["l1"]:
            losses["l1"] = pixel_error(frames, truth, weight)
        if self.weights["edges"]:
            losses["edges"] = edge_error(frames, truth, weight)
        if self.weights["kl"]:
            losses["kl"] = divergence(rebuilt.mean, rebuilt.log_variance)
        if self.discriminator is not None:
            adversarial = self.fooled(frames)
            begun = self.global_step >= self.adversarial_start * len(self.parts())
            losses["adversarial"] = adversarial if begun else 0 * adversarial
        return losses

    @torch.no_grad()
    def _measure(self, rebuilt: Rebuilt) -> None:
        """The moments of drawn latents, those of all ranks together."""
        mean = rebuilt.mean.float()
        own = torch.stack([mean.mean(), (mean.square() + rebuilt.log_variance.float().exp()).mean()])
        if self._trainer is not None and self.trainer.world_size > 1:
            all_ranks: Any = self.all_gather(own)
            own = all_ranks.reshape(-1, 2).mean(0)
        self.network.measure(own[0], own[1])
