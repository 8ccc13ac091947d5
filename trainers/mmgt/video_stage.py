"""What both stages of MMGT's video diffusion share (MMGT-20)."""

from typing import Any, ClassVar, Literal

from torch import Tensor

from models.mmgt.video import MMGTVideo
from models.mmgt.video_sample import sample_window
from trainers.mmgt.video_batch import inputs_of
from trainers.stage.base import build_network
from trainers.video.batch import Picked, places_of
from trainers.video.stage import LatentStage, Told


class VideoStage(LatentStage):
    """Denoises latents of frames by picture, poses, masks and speech (MMGT-20).

    A subclass says what is trained, and whether the network looks along time and hears.

    Args:
        network: options of `MMGTVideo`.
        trains: "spatial" or "audio_motion".
        hold_masks: whether masks are held at the reference's frame where poses are left out.
        region_weight: how much more latents of face, lips and hands count.
        options: of `LatentStage`.
    """

    network: MMGTVideo
    trains: ClassVar[Literal["spatial", "audio_motion"]]

    def __init__(self, network: dict[str, Any], *, region_weight: float, hold_masks: bool = False, **options: Any):
        built = build_network(MMGTVideo, network)
        built.train_only(self.trains)
        self.temporal = self.trains == "audio_motion"
        self.hears = self.temporal and built.use_audio
        self.region_weight, self.hold_masks = region_weight, hold_masks
        super().__init__(built, **options)

    def tell(self, batch: Any, picked: Picked, latents: Tensor, random: Any, left_out: dict[str, Tensor]) -> Told:
        """Picture, skeletons, masks and speech; places of face, hands and lips."""
        pose = self.poses(batch, picked, latents)
        held = left_out.get("pose") if self.hold_masks else None
        inputs = inputs_of(batch, self.network, picked, latents[:, -1], pose, self.temporal, held)
        if not self.region_weight:
            return Told(inputs)
        height, width = latents.shape[-2:]
        return Told(inputs, places_of(pose[:, :-1], self.network.downscaling, height, width, self.region_weight))

    def predict(self, noisy: Tensor, levels: Tensor, inputs: Any, left_out: dict[str, Tensor]) -> Tensor:
        """The network, along time or frame by frame."""
        return self.network(noisy, levels, inputs, left_out, temporal=self.temporal)

    def generate(self, inputs: Any, noise: Tensor) -> Tensor:
        """One window."""
        return sample_window(self.network, inputs, noise, temporal=self.temporal)
