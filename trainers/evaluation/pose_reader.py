"""Reading poses off small frames, with a small network that is fitted to the clips' own training frames."""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as pictures_of

from datamodules.media.fitting import FitMode
from models.human.keypoints import BODY, HANDS, POINTS
from settings import ConfigError, get_logger
from trainers.evaluation.clips import MISSING
from trainers.evaluation.frame_reader import CLIPS, FrameReader, shots_to_fit

SIDE: Final = 64  # pixels of the frames it looks at
STEPS: Final = 600
RELIABLE: Final = 0.9
"""Share of the training frames in which a point has to be seen, so that it is read."""
_HIDDEN: Final = 256
_READ: Final = (*range(BODY.start, BODY.stop), *range(HANDS.start, HANDS.stop))
logger = get_logger(__name__)


class PoseReader(FrameReader):
    """Frames (N, 3, 64, 64) in [0, 1] to x and y of body and hands (N, 2 K), as fractions of the frame (ours).

    It reads those points that nearly all training frames show, each frame by itself.
    """

    side: ClassVar = SIDE
    points: tuple[int, ...] = ()

    @classmethod
    def fit(
        cls,
        shards: str,
        size: tuple[int, int] | None,
        splits: Sequence[str] = ("train",),
        steps: int = STEPS,
        seed: int = 0,
        how: FitMode = "crop",
        clips: int = CLIPS,
    ) -> "PoseReader":
        """A reader of the frames of shards; the same for the same seed.

        Args:
            shards: folder or URL.
            size: height and width of the frames; None leaves them theirs.
            splits: whose clips it is fitted to.
            steps: of fitting; the default takes about a minute on one core.
            seed: of its weights and of what is drawn.
            how: frames of another shape come to the size.
            clips: at most so many, evenly taken.

        Raises:
            ConfigError: no clips with video and pose in these splits, or no point that nearly all of them show.
        """
        frames, poses = [], []
        for shot, at in shots_to_fit(shards, size, splits, how, clips):
            assert shot.pose is not None
            frames.append(small(shot.frames[at]))
            poses.append(shot.pose[at])
        if not frames:
            raise ConfigError(f"{shards} has no frames with poses in {', '.join(splits)} to fit the pose reader to")
        return cls.fit_frames(torch.cat(frames), torch.cat(poses), steps, seed)

    @classmethod
    def fit_frames(cls, frames: Tensor, pose: Tensor, steps: int = STEPS, seed: int = 0) -> "PoseReader":
        """A reader fitted to frames (N, 3, 64, 64) in [0, 1] with poses (N, 134, 3).

        Raises:
            ConfigError: no point is reliable.
        """
        there = pose[..., 2] > 0
        points = tuple(point for point in _READ if there[:, point].float().mean() >= RELIABLE)
        if not points:
            raise ConfigError(
                f"no point of body or hands is seen in {RELIABLE:.0%} of the training frames, so none can be read off "
                "frames: give poses=mediapipe or poses=dwpose"
            )
        wanted, known = pose[:, points, :2].flatten(1), there[:, points].repeat_interleave(2, 1)
        reader = cls.fitted(frames, wanted, steps, seed, known, _HIDDEN)
        reader.points = points
        logger.info("pose reader: fitted to %d points in %d frames", len(points), len(frames))
        return reader

    @torch.no_grad()
    def read(self, frames: Tensor) -> np.ndarray:
        """(T, 134, 3) of frames (T, 3, H, W), uint8 or float in [0, 1]; what it does not read is missing."""
        places = torch.cat([self.numbers(part) for part in small(frames).split(256)])
        pose = np.tile(MISSING, (len(frames), POINTS, 1))
        pose[:, self.points, :2], pose[:, self.points, 2] = places.unflatten(1, (-1, 2)).numpy(), 1
        return pose


def small(frames: Tensor) -> Tensor:
    """Frames (T, 3, H, W), uint8 or float in [0, 1], brought to (T, 3, 64, 64), float in [0, 1]."""
    frames = frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()
    return pictures_of.resize(frames, [SIDE, SIDE], antialias=True).clamp(0, 1)
