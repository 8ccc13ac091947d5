"""VersaAnimator's fourth stage: a picture and poses to frames, by Stable Video Diffusion (VA-11, VA-12, VA-15)."""

from typing import Annotated

from models.versa.video.network import VersaVideo
from pretrained.svd import load_svd
from settings import DEFAULTS, Choice, Section
from settings.ranges import Fraction, NonNegative
from trainers.stage.base import build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.versa.video_stage import FACE, VersaVideoStage
from trainers.video.batch import Frames, Reference
from trainers.video.stage import Weighting


class PoseVideoStage(VersaVideoStage):
    """Trains the pose-guided backbone whole (VA-15, its first step); there is no attention to the face yet.

    Args:
        network: the network's own options.
        autoencoder: run folder of a video.autoencoder, or path or hub name of a published AutoencoderKL or
            AutoencoderKLTemporalDecoder.
        svd_weights: folder or hub name of Stable Video Diffusion, or of its UNet, from which it starts; none starts
            anew (VA-11).
        reference: the picture is any frame of the window (VA-15), or the first of those that are generated.
        frames: one behind the other, or any of the window (ours): a short training then sees as many poses as frames,
            and learns how frames follow one another in `versa.audio_video`.
        drop_reference: probability of training without the reference, for classifier-free guidance (ours).
        drop_pose: likewise without poses.
        weighting: how much each noise level counts; uniform is SVD's own.
        noise_offset: share of the noise that is the same over a whole channel, so that brightness is learned.
        region_weight: how much more latents of face, lips and hands count than the rest (ours); 0 counts all the same.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or published weights that cannot be used.
    """

    def __init__(
        self,
        *,
        network: Annotated[
            dict, Section(VersaVideo, given=("autoencoder", "latent_scale", "face_attention", *FACE))
        ] = DEFAULTS,
        autoencoder: str | None = None,
        svd_weights: str | None = None,
        reference: Reference = "any",
        frames: Frames = "consecutive",
        drop_reference: Fraction = 0.1,
        drop_pose: Fraction = 0.1,
        weighting: Weighting = "uniform",
        noise_offset: NonNegative = 0.0,
        region_weight: NonNegative = 0.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(
            build_network(VersaVideo, network, face_attention=False),
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
        if svd_weights is not None:
            load_svd(self.network, "stage.svd_weights", svd_weights)
