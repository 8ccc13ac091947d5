"""Reading off frames how far a mouth is open, with a small network that is fitted to the clips' own training frames."""

from collections.abc import Sequence
from typing import ClassVar, Final, Self

import numpy as np
import torch
from torch import Tensor

from datamodules.media.fitting import FitMode
from metrics.lips import NEEDED
from models.human.keypoints import FACE, lip_opening
from settings import ConfigError, get_logger
from trainers.evaluation.faces import box_around, face_crop
from trainers.evaluation.frame_reader import CLIPS, FrameReader, shots_to_fit
from trainers.evaluation.per_clip import correlation

SIDE: Final = 48  # pixels of the crops it looks at
STEPS: Final = 400
logger = get_logger(__name__)


class LipReader(FrameReader):
    """Crops of faces (N, 3, 48, 48) in [0, 1] to the opening of the lips (N,), as `lip_opening` has it (ours).

    It is fitted to moved crops, too: a generated head is not quite where the true one is.
    """

    side: ClassVar = SIDE
    shift: ClassVar = 3
    what: ClassVar[str] = "lips"

    @staticmethod
    def wanted(pose: Tensor, size: tuple[int, int]) -> np.ndarray:
        """What is read (T,) in a pose (T, 134, 3) of frames of a height and width; NaN where it is not seen."""
        return openings_of(pose)

    @staticmethod
    def cut(frames: Tensor, pose: Tensor) -> Tensor | None:
        """What it looks at of frames (T, 3, H, W), (T, 3, 48, 48) in [0, 1]; None where it is not seen."""
        return crops_of(frames, pose)

    def forward(self, crops: Tensor) -> Tensor:
        return self.numbers(crops)[:, 0]

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
    ) -> Self:
        """A reader of the frames of shards; the same for the same seed.

        Args:
            shards: folder or URL.
            size: height and width at which the frames are read; None leaves them theirs.
            splits: whose clips it is fitted to.
            steps: of fitting; the default takes some twenty seconds on one core.
            seed: of its weights and of what is drawn.
            how: frames of another shape come to the size.
            clips: at most so many, evenly taken.

        Raises:
            ConfigError: no clips with video and pose in these splits, or none that shows what is read.
        """
        crops, openings = [], []
        for shot, at in shots_to_fit(shards, size, splits, how, clips):
            assert shot.pose is not None
            cut, opening = cls.cut(shot.frames, shot.pose), cls.wanted(shot.pose, _size(shot.frames))
            there = at[np.isfinite(opening[at])]
            if cut is not None and len(there):
                crops.append(cut[there])
                openings.append(opening[there])
        if not crops:
            raise ConfigError(
                f"{shards} has no frames with {cls.what} in {', '.join(splits)} to fit the reader of {cls.what} to"
            )
        return cls.fit_crops(torch.cat(crops), torch.from_numpy(np.concatenate(openings)), steps, seed)

    @classmethod
    def fit_crops(cls, crops: Tensor, openings: Tensor, steps: int = STEPS, seed: int = 0) -> Self:
        """A reader fitted to crops (N, 3, 48, 48) in [0, 1] with openings (N,)."""
        reader = cls.fitted(crops, openings[:, None], steps, seed)
        logger.info("reader of %s: fitted to %d frames", cls.what, len(crops))
        return reader

    @torch.no_grad()
    def read(self, frames: Tensor, pose: Tensor) -> np.ndarray:
        """The opening in each frame (T,); NaN where nobody knows where the face is.

        Args:
            frames: (T, 3, H, W) uint8 or float in [0, 1].
            pose: (N, 134, 3) of the true clip, or of its first frame alone: one square around the face is taken for
                all frames, so that nothing of the true lips' movement comes in.
        """
        crops = self.cut(frames, pose)
        if crops is None:
            return np.full(len(frames), np.nan)
        return torch.cat([self(part) for part in crops.split(256)]).double().numpy()

    def correlation(self, frames: Tensor, pose: Tensor) -> float:
        """Pearson's r between what is read off frames (T, 3, H, W) and what is true by the pose (T, 134, 3).

        0 where nothing changes in what is read; NaN where the truth is still or not seen.
        """
        return correlation(self.read(frames, pose), self.wanted(pose, _size(frames)))


def _size(frames: Tensor) -> tuple[int, int]:
    """Height and width of frames."""
    return frames.shape[-2], frames.shape[-1]


def openings_of(pose: Tensor) -> np.ndarray:
    """Opening of the lips (T,) in a pose (T, 134, 3); NaN where a point that it hangs on is not there."""
    points = pose.numpy().astype(np.float64)
    return np.where((points[:, NEEDED, 2] > 0).all(1), lip_opening(points), np.nan)


def crops_of(frames: Tensor, pose: Tensor) -> Tensor | None:
    """One square around the face wherever it goes, of every frame: (T, 3, 48, 48) in [0, 1]; None without a face."""
    box = box_around(pose[:, FACE], frames.shape[3] / frames.shape[2])
    return None if box is None else face_crop(frames, box, SIDE)
