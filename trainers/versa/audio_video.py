"""VersaAnimator's fifth stage: whose face it is, what it says, how it looks, into the video (VA-13 .. VA-15)."""

from typing import Annotated, Final

import torch

from models.versa.video.network import VersaVideo
from pretrained.faces import COLOURS, face_network_hash
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fraction, NonNegative
from trainers.stage.agreement import Expected, made_by
from trainers.stage.base import build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.versa.video_stage import FACE, Expression, VersaVideoStage
from trainers.video.base import build_on
from trainers.video.batch import Reference
from trainers.video.stage import Weighting

BASE: Final = "versa.pose_video"
OWN: Final = (
    "face_attention", *FACE, "sigma_", "motion_bucket", "noise_augmentation", "sampling_steps", "guidance_", "window",
    "fps",
)  # fmt: skip
"""Beginnings of the network's options that may differ from the first step's: what it does not have, or only uses."""


class AudioVideoStage(VersaVideoStage):
    """Adds attention to the face, and trains all (VA-15, its second step).

    What the first step trained starts from there. Each of the face's conditions is left out in a share of the samples,
    so that the network does without it, and guidance by it is possible.

    Args:
        network: the network's own options; sizes of what the first step trained are those of `base`. face_attention
            false is the ablation: the same training without the face (ours).
        base: run folder, saved network or hub name of a versa.pose_video.
        autoencoder: as the first step's.
        identity: face network that made identity.npz of the shards: "colours", a file of ArcFace's format, a folder
            that holds one, or a hub name. Training reads its embeddings alone, so that the name of a published file
            will do without the file; `animate` takes it from there.
        expression: "manifest" takes the label of each clip, `expression` in its manifest's `extra`, "classifier" that
            of each frame, of expression.npz; what has none is trained without.
        reference: the picture is any frame of the window (VA-15), or the first of those that are generated.
        drop_reference: probability of training without the reference, for classifier-free guidance (ours).
        drop_pose: likewise without poses.
        drop_identity: likewise without the face's identity.
        drop_audio: likewise without speech.
        drop_expression: likewise without the expression's label.
        drop_blink: likewise without the blink ratio.
        weighting: how much each noise level counts; uniform is SVD's own.
        noise_offset: share of the noise that is the same over a whole channel, so that brightness is learned.
        region_weight: how much more latents of face, lips and hands count than the rest (ours); 0 counts all the same.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or a network that cannot be used.
    """

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(VersaVideo, given=("autoencoder", "latent_scale", "face_network"))] = DEFAULTS,
        base: str | None = None,
        autoencoder: str | None = None,
        identity: str = COLOURS,
        expression: Expression = "manifest",
        reference: Reference = "any",
        drop_reference: Fraction = 0.1,
        drop_pose: Fraction = 0.1,
        drop_identity: Fraction = 0.1,
        drop_audio: Fraction = 0.1,
        drop_expression: Fraction = 0.1,
        drop_blink: Fraction = 0.1,
        weighting: Weighting = "uniform",
        noise_offset: NonNegative = 0.0,
        region_weight: NonNegative = 0.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        built = build_network(VersaVideo, network)
        dropped = {"reference": drop_reference, "pose": drop_pose}
        if built.face_attention:
            dropped |= {"identity": drop_identity, "audio": drop_audio}
            dropped |= {"expression": drop_expression, "blink": drop_blink}
        super().__init__(
            built,
            autoencoder=autoencoder,
            expression=expression,
            reference=reference,
            dropped=dropped,
            weighting=weighting,
            noise_offset=noise_offset,
            region_weight=region_weight,
            optimizer=optimizer,
            schedule=schedule,
        )
        if base is not None:
            added = {id(parameter) for parameter in built.face_parameters()}
            build_on(built, base, BASE, autoencoder, own=OWN, taken=lambda _, parameter: id(parameter) not in added)
        elif torch.get_default_device().type != "meta":  # a plan does without
            raise ConfigError(f"stage.base is needed: the run folder of a {BASE}, or its saved network")
        self.identity = identity
        if built.face_attention and torch.get_default_device().type != "meta":  # a plan opens no file
            built.use_face_network(face_network_hash("stage.identity", identity))

    def expects(self) -> list[Expected]:
        """Also embeddings of the face network that is named."""
        known = self.network.face_network
        named = [made_by("identity.npz", known, f"stage.identity={self.identity}")] if known else []
        return [*super().expects(), *named]

    def frozen(self) -> dict[str, str]:
        """Also the face network, by the option that names it."""
        known = self.network.face_network
        return super().frozen() | ({"identity": known} if known else {})
