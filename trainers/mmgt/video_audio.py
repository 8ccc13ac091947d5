"""The second step of MMGT's video diffusion: what speech moves, and how frames follow one another (MMGT-21)."""

from typing import Annotated, ClassVar, Final

import torch

from models.mmgt.video import MMGTVideo
from pretrained.unets import load_motion
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fraction, NonNegative
from trainers.mmgt.video_stage import VideoStage
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.video.base import build_on
from trainers.video.batch import Reference
from trainers.video.stage import Weighting

BASE: Final = "mmgt.video_pose"
OWN: Final = ("audio_", "motion_", "guidance_", "use_audio", "masks", "sampling_steps", "window", "fps")
"""Beginnings of the network's options that may differ from the first step's: what it does not train, or only uses."""


class VideoAudioStage(VideoStage):
    """Trains audio projection, audio attention through masks, and motion modules; all else is frozen (MMGT-21).

    Args:
        network: the network's own options; sizes of what is not trained here are those of `base`.
        base: run folder, saved network or hub name of an mmgt.video_pose.
        autoencoder: as the first step's.
        motion_weights: folder or hub name of AnimateDiff's motion modules, which they start from; anew where none.
        reference: the picture is the first of a window's frames (MMGT-14), or any of the window (ours).
        drop_reference: probability of training without the reference, for classifier-free guidance.
        drop_pose: likewise without poses.
        drop_audio: likewise without speech.
        hold_masks: masks are held at the reference's frame where poses are left out, as they are when speech alone
            drives (ours): moving ones show how far the lips are open.
        weighting: how much each noise level counts.
        noise_offset: share of the noise that is the same over a whole channel, so that brightness is learned.
        region_weight: how much more latents of face, lips and hands count than the rest (ours); 0 counts all the same.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or networks that cannot be used.
    """

    trains: ClassVar = "audio_motion"

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(MMGTVideo, given=("autoencoder", "latent_scale"))] = DEFAULTS,
        base: str | None = None,
        autoencoder: str | None = None,
        motion_weights: str | None = None,
        reference: Reference = "first",
        drop_reference: Fraction = 0.05,
        drop_pose: Fraction = 0.05,
        drop_audio: Fraction = 0.05,
        hold_masks: bool = False,
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
            frames="consecutive",
            dropped={"reference": drop_reference, "pose": drop_pose, "audio": drop_audio},
            hold_masks=hold_masks,
            weighting=weighting,
            noise_offset=noise_offset,
            region_weight=region_weight,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.base_sha256 = ""
        if base is not None:
            self.base_sha256 = build_on(
                self.network, base, BASE, autoencoder, own=OWN, taken=lambda _, parameter: not parameter.requires_grad
            )
        elif torch.get_default_device().type != "meta":  # a plan does without
            raise ConfigError(f"stage.base is needed: the run folder of an {BASE}, or its saved network")
        if motion_weights is not None:
            load_motion(self.network, "stage.motion_weights", motion_weights)

    def frozen(self) -> dict[str, str]:
        """The autoencoder and the first step's network, by the options that say where they are."""
        return {**super().frozen(), **({"base": self.base_sha256} if self.base_sha256 else {})}
