"""The first step of MMGT's video diffusion: a picture and poses to frames, each for itself (MMGT-21)."""

from typing import Annotated, ClassVar

import torch

from models.mmgt.video import MMGTVideo
from pretrained.unets import load_spatial
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fraction, NonNegative
from trainers.mmgt.video_stage import VideoStage
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.video.batch import Frames, Reference
from trainers.video.stage import Weighting


class VideoPoseStage(VideoStage):
    """Trains what makes a picture of reference and pose: both UNets' spatial parts and the pose guider (MMGT-21).

    Motion modules and speech are passed over.

    Args:
        network: the network's own options.
        autoencoder: run folder of a video.autoencoder, or path or hub name of a published AutoencoderKL.
        spatial_weights: folder or hub name of Stable Diffusion 1.5, or of its UNet, from which both UNets start; none
            starts them anew.
        reference: the picture is the first of a window's frames (MMGT-14), or any of the window (ours).
        frames: consecutive ones (MMGT-14), or any of the window (ours): here each is made for itself.
        drop_reference: probability of training without the reference, for classifier-free guidance.
        drop_pose: likewise without poses.
        weighting: how much each noise level counts.
        noise_offset: share of the noise that is the same over a whole channel, so that brightness is learned.
        region_weight: how much more latents of face, lips and hands count than the rest (ours); 0 counts all the same.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or published weights that cannot be used.
    """

    trains: ClassVar = "spatial"

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(MMGTVideo, given=("autoencoder", "latent_scale"))] = DEFAULTS,
        autoencoder: str | None = None,
        spatial_weights: str | None = None,
        reference: Reference = "first",
        frames: Frames = "consecutive",
        drop_reference: Fraction = 0.05,
        drop_pose: Fraction = 0.05,
        weighting: Weighting = "uniform",
        noise_offset: NonNegative = 0.0,
        region_weight: NonNegative = 0.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adam",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(
            network,
            autoencoder=autoencoder,
            reference=reference,
            frames=frames,
            dropped={"reference": drop_reference, "pose": drop_pose},
            weighting=weighting,
            noise_offset=noise_offset,
            region_weight=region_weight,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.spatial_sha256 = ""
        if spatial_weights is not None:
            self.spatial_sha256 = load_spatial(self.network, "stage.spatial_weights", spatial_weights)
        elif self.network.lora_rank and torch.get_default_device().type != "meta":
            raise ConfigError(
                f"stage.network.lora_rank={self.network.lora_rank} adds to spatial weights that stay as they are: give "
                "stage.spatial_weights, or set stage.network.lora_rank=0"
            )

    def frozen(self) -> dict[str, str]:
        """The autoencoder, and under LoRA the weights that it adds to, by the options that say where they are."""
        stays = {"spatial_weights": self.spatial_sha256} if self.network.lora_rank and self.spatial_sha256 else {}
        return {**super().frozen(), **stays}
