"""Who is it? A small network that is fitted to the clips' own training faces, and conditions nothing (VA-13, VA-17)."""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.media.fitting import FitMode
from models.human.aligned_face import arcface_crops, five_points
from pretrained.weights import WeightsSource
from settings import get_logger
from trainers.evaluation.frame_reader import FrameReader, shots_to_fit

SIDE: Final = 48  # pixels of the aligned faces that it looks at
STEPS: Final = 300
CLIPS: Final = 64
_FRAMES: Final = 12  # of a clip: the same person looks much the same in all of them
logger = get_logger(__name__)


class FaceJudge(FrameReader):
    """Aligned faces (N, 112, 112, 3) uint8 RGB to embeddings (N, 64), as CSIM asks a face network for them (ours).

    It is fitted to tell the speakers of the training clips apart; what it makes of a face before it says so is the
    embedding. It knows the speakers of its clips, and others by likeness to them; no figure of another data set's judge
    may be compared.
    """

    side: ClassVar = SIDE
    shift: ClassVar = 2
    source: ClassVar = WeightsSource("a network fitted to faces of training frames")
    speakers: tuple[str, ...] = ()

    @torch.no_grad()
    def forward(self, faces: np.ndarray) -> np.ndarray:
        pictures = pictures_of(faces)
        return torch.cat([self.layers[:-2](part * 2 - 1) for part in pictures.split(256)]).double().numpy()

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
    ) -> "FaceJudge | None":
        """A judge of the faces of shards; the same for the same seed. None where there are not two speakers to tell
        apart, or no face.

        Args:
            shards: folder or URL.
            size: height and width at which the frames are read; None leaves them theirs.
            splits: whose clips it is fitted to.
            steps: of fitting.
            seed: of its weights and of what is drawn.
            how: frames of another shape come to the size.
            clips: at most so many, evenly taken.
        """
        found: list[tuple[str, np.ndarray]] = []
        for shot, at in shots_to_fit(shards, size, splits, how, clips):
            assert shot.pose is not None
            some = at[np.linspace(0, len(at) - 1, min(_FRAMES, len(at))).round().astype(int)]
            points = five_points(shot.pose[some])
            there = ~np.isnan(points).any((1, 2))
            if there.any() and shot.info.speaker is not None:
                frames = shot.frames[some].permute(0, 2, 3, 1).numpy()[there]
                found.append((shot.info.speaker, arcface_crops(frames, points[there])))
        speakers = tuple(sorted({speaker for speaker, _ in found}))
        if len(speakers) < 2:
            logger.warning("likeness is left out: %s shows no faces of two speakers or more to tell apart", shards)
            return None
        labels = np.concatenate([np.full(len(faces), speakers.index(speaker)) for speaker, faces in found])
        return cls.fit_faces(np.concatenate([faces for _, faces in found]), labels, speakers, steps, seed)

    @classmethod
    def fit_faces(
        cls, faces: np.ndarray, labels: np.ndarray, speakers: Sequence[str], steps: int = STEPS, seed: int = 0
    ) -> "FaceJudge":
        """A judge fitted to faces (N, 112, 112, 3) uint8 of people by number (N,) in `speakers`."""
        wanted = F.one_hot(torch.from_numpy(labels).long(), len(speakers)).float()
        judge = cls.fitted(pictures_of(faces), wanted, steps, seed)
        judge.speakers = tuple(speakers)
        logger.info("face judge: fitted to %d faces of %d speakers", len(faces), len(speakers))
        return judge


def pictures_of(faces: np.ndarray) -> Tensor:
    """Faces (N, 112, 112, 3) uint8 as (N, 3, 48, 48) in [0, 1]."""
    pictures = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=True)
