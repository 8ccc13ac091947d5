"""What both stages of VersaAnimator's video half share (VA-15)."""

from typing import Any, Final, Literal

from torch import Tensor

from models.diffusion.noise.augmentation import augmented, draw_strength
from models.versa.video.generate import noised
from models.versa.video.network import VersaVideo
from models.versa.video.sample import sample_window
from settings import get_logger
from trainers.stage.agreement import Expected
from trainers.versa.video_batch import EXPRESSION, inputs_of
from trainers.video.batch import Frames, Picked, places_of
from trainers.video.stage import LatentStage, Told

FACE: Final = (
    "identity_channels", "identity_tokens", "expressions", "audio_layers", "audio_channels", "audio_context",
    "audio_tokens", "audio_width", "guidance_identity", "guidance_audio", "guidance_expression", "guidance_blink",
    "face_network",
)  # fmt: skip
"""Options of the network that attention to the face alone reads."""
Expression = Literal["manifest", "classifier"]
logger = get_logger(__name__)


class VersaVideoStage(LatentStage):
    """Denoises latents of frames by a picture, poses and, where there is attention to it, the face.

    EDM's noise and SVD's preconditioning, both in float32 (VA-11): at uniform weight the loss is SVD's own,
    (1 + sigma^2) / sigma^2 times the squared error of x0. The reference is any frame of the window (VA-15), with noise
    of a strength that the network is told.

    Args:
        network: whose stage it is.
        region_weight: how much more latents of face, lips and hands count.
        expression: where labels of expressions come from, "manifest" or "classifier" (`expressions_of`).
        frames: one behind the other, or any of the window.
        options: of `LatentStage`.
    """

    network: VersaVideo

    def __init__(
        self,
        network: VersaVideo,
        *,
        region_weight: float,
        expression: Expression = "manifest",
        frames: Frames = "consecutive",
        **options: Any,
    ):
        self.hears, self.region_weight = network.face_attention, region_weight
        self.expression, self.labelled = expression, False
        super().__init__(network, frames=frames, **options)

    def expects(self) -> list[Expected]:
        """Also embeddings of the face network that the sizes are of."""
        if not self.network.face_attention:
            return super().expects()
        channels = self.network.face_tokens.identity_channels
        return [
            *super().expects(),
            Expected(
                "identity_channels",
                channels,
                f"stage.network.identity_channels is {channels}",
                "identity.npz of data.shards has {}",
                "set stage.network.identity_channels={}, or make it with another face network by "
                "`python -m preprocessing.features` (writer=identity)",
            ),
        ]

    def tell(self, batch: Any, picked: Picked, latents: Tensor, random: Any, left_out: dict[str, Tensor]) -> Told:
        """The noisy picture, poses without faces, what the face does; places of face, hands and lips."""
        network, reference = self.network, latents[:, -1]
        if random is None:
            reference, strength = noised(reference, network.noise_augmentation, self.seed)
        else:
            strength = draw_strength(random)
            if not self.training:
                strength = strength.new_full(strength.shape, network.noise_augmentation)
            reference = augmented(reference, strength, random.normal(*reference.shape[1:]))
        pose = self.poses(batch, picked, latents)
        self.labelled |= any(EXPRESSION in info.extra for info in batch.infos)
        inputs = inputs_of(batch, network, picked, reference, pose, strength)
        if not self.region_weight:
            return Told(inputs)
        height, width = latents.shape[-2:]
        return Told(inputs, places_of(pose[:, :-1], network.downscaling, height, width, self.region_weight))

    def on_train_epoch_end(self) -> None:
        """Say it where labels of expressions are wanted and no clip has one."""
        if self.network.face_attention and self.expression == "manifest" and not self.labelled:
            logger.warning(
                "no clip of this epoch has a label of its expression (`expression` in `extra` of the manifest): the "
                "network learns none; stage.expression=classifier reads those of expression.npz"
            )
            self.labelled = True  # said once

    def predict(self, noisy: Tensor, levels: Tensor, inputs: Any, left_out: dict[str, Tensor]) -> Tensor:
        """The network."""
        return self.network(noisy, levels, inputs, left_out)

    def generate(self, inputs: Any, noise: Tensor) -> Tensor:
        """One window."""
        return sample_window(self.network, inputs, noise)

    def _needs(self) -> tuple[str, ...]:
        face = ("identity.npz", "face.npz") if self.network.face_attention else ()
        told = ("expression.npz",) if face and self.expression == "classifier" else ()
        return (*super()._needs(), *face, *told)
