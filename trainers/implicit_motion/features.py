"""The frozen base network in a later stage: found by name, it turns frames into features."""

from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor

from models.implicit_motion.base import ImplicitMotion
from models.implicit_motion.features import appearance_of, motion_of
from models.implicit_motion.motion import MotionDiffusion, Spoken
from pretrained.exports import Export, load_network
from pretrained.frozen import Frozen
from settings import ConfigError

STAGE: Final = "implicit_motion.base"
RENDERED: Final = 8  # frames that are rendered together, to fit beside a training step
MEASURED_WINDOWS: Final = 128  # from which statistics are taken where no index has them


class FrozenBase(Frozen[ImplicitMotion]):
    """A base network that is not trained any more.

    Args:
        export: where it is saved.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, export: Export):
        super().__init__(load_network(ImplicitMotion, export), export.sha256)

    def motion(self, video: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S) uint8 to motion features (B, T, 768).

        Raises:
            ConfigError: frames of another size than the network's.
        """
        size = self.network.image_size
        height, width = video.shape[-2:]
        if (height, width) != (size, size):
            raise ConfigError(
                f"the base network reads {size} x {size} pixels, the clips have {width} x {height}; set "
                f"data.video_size=[{size},{size}]"
            )
        return motion_of(self.network, video.flatten(0, 1)).unflatten(0, video.shape[:2])

    def appearance(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) uint8 to F_A (B, A)."""
        return appearance_of(self.network, images)

    @torch.no_grad()
    def render(self, images: Tensor, motion: Tensor) -> Tensor:
        """Frames (B, T, 3, S, S) in [0, 1] of source pictures (B, 3, S, S) uint8 moved by features (B, T, 768)."""
        source = self.network.encode_source(images.contiguous().float() / 255)
        return torch.cat([self.network.render(source, part) for part in motion.split(RENDERED, 1)], 1)


def measure(base: FrozenBase, stage: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and standard deviation of the features, and their deviation from their window's mean, each (C,).

    Measured on the first training windows of all ranks together, so that all have the same figures.

    Args:
        base: makes the features.
        stage: in training; its datamodule is read with a loader of its own, whose place nobody else has.
    """
    loader = stage.trainer.datamodule.train_dataloader()
    sums = torch.zeros(4, stage.network.motion_channels, dtype=torch.float64, device=stage.device)
    seen = 0
    for batch in islice(loader, MEASURED_WINDOWS):
        motion = base.motion(batch.to(stage.device).video).double()
        inside = motion - motion.mean(1, keepdim=True)
        rows = [torch.ones_like(motion), motion, motion.square(), inside.square()]
        sums += torch.stack([values.flatten(0, 1).sum(0) for values in rows])
        seen += len(batch)
        if seen * stage.trainer.world_size >= MEASURED_WINDOWS:
            break
    gathered = stage.all_gather(sums).reshape(-1, *sums.shape)  # of one rank alone it comes without a first axis
    count, total, squares, moved = gathered.sum(0)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=1e-8).sqrt(), (moved / count).clamp(min=1e-8).sqrt()


def spoken_of(batch: Any, network: MotionDiffusion) -> Spoken | None:
    """All of the speech of the windows' clips, each clip once (IM-13); None where the network does not read it."""
    if not network.reads_clip:
        return None
    speech = batch.whole["audio" if network.audio == "raw" else "speech"]
    clips = [window.rpartition("@")[0] for window in batch.ids]
    first: dict[str, int] = {}
    for row, clip in enumerate(clips):
        first.setdefault(clip, row)
    places = {clip: place for place, clip in enumerate(first)}
    frames = batch.whole["frames"][list(first.values()), 0].to(speech.device)
    rows = torch.tensor([places[clip] for clip in clips], device=speech.device)
    return Spoken(speech[list(first.values())], frames, rows)
