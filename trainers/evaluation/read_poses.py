"""Poses read off videos, and their figures: what no poses drive moves, too (PH-20)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

import numpy as np
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from metrics.frames import as_bytes
from models.human.autoencoder import PoseAutoencoder
from models.human.keypoints import BODY, HANDS
from preprocessing.step import Draft, SourceFile
from settings import ConfigError
from trainers.evaluation.clips import visible
from trainers.evaluation.comparison import Figure
from trainers.evaluation.per_clip import mean_over_clips
from trainers.evaluation.pose_figures import OF_VIDEOS, measure_talks
from trainers.evaluation.pose_reader import PoseReader
from trainers.evaluation.talks import Talk
from trainers.evaluation.video_rows import fitting_splits
from trainers.evaluation.videos import Shot

Poses = Literal["reader", "mediapipe", "dwpose"]
DWPOSE: Final = "dwpose"
SEEN: Final = 0.5
"""Share of the true frames in which a back end has to see somebody."""
OF_READING: Final = {
    "pose_read_error": Figure(
        "Read error", "lower", "mean distance of body and hands read off the video from the true ones, frame heights"
    ),
    "pose_read_motion": Figure(
        "Read motion", "higher", "share of the variance of the true points around their clip's mean that is read off"
    ),
    "bas_stored": Figure("BAS, stored poses", "near", "BAS of the clips' own poses, not of those read off the video"),
}
"""Of the truth and of what the autoencoder makes of it: what the reading itself is worth."""
FIGURES: Final = {**OF_VIDEOS, **OF_READING}
_BY_TRUTH: Final = ("truth", "reconstruction")
_MOVING: Final = np.r_[BODY, HANDS]


class Reading(Protocol):
    """Poses (T, 134, 3) of frames (T, 3, H, W), uint8 or float in [0, 1], at so many a second."""

    def __call__(self, frames: Tensor, fps: float) -> np.ndarray:
        """Read."""
        ...


def reading_of(
    kind: Poses, shards: str, size: tuple[int, int] | None, how: FitMode, steps: int, weights: str | None, device: str
) -> Reading:
    """What reads poses off frames.

    Args:
        kind: "reader" is a small network fitted to the shards' own training frames; others are back ends of
            preprocessing.
        shards, size, how, steps: of the small network.
        weights: DWPose's folder or hub name; None fetches it.
        device: of DWPose.

    Raises:
        ConfigError: nothing to fit it to, or no weights.
    """
    if kind == "reader":
        reader = PoseReader.fit(shards, size, fitting_splits(shards), steps, how=how)
        return lambda frames, fps: reader.read(frames)
    if kind == "mediapipe":
        from preprocessing.pose.mediapipe import MediaPipePose

        return _by_step(MediaPipePose(people_every=0))
    from preprocessing.pose.dwpose import DWPose

    return _by_step(DWPose(**({} if weights is None else {"weights": weights}), device=device))  # type: ignore[arg-type]


def check_reading(read: Reading, kind: Poses, shots: Iterable[Shot]) -> None:
    """Raises ConfigError where a back end sees nobody in most of some true frames."""
    seen = np.concatenate([(read(shot.frames, shot.info.fps)[:, BODY, 2] > 0).any(1) for shot in shots])
    if seen.mean() < SEEN:
        raise ConfigError(
            f"poses={kind}: somebody is found in {seen.mean():.0%} of the true frames only, which are too small, or "
            "drawn: give poses=reader, a network fitted to these clips' own training frames"
        )


@dataclass
class _Shown(Draft):
    """A clip of which only the frames are known."""

    pictures: np.ndarray | None = None

    def frames(self) -> Iterator[np.ndarray]:
        yield from cast(np.ndarray, self.pictures)


def _by_step(step: Any) -> Reading:
    def read(frames: Tensor, fps: float) -> np.ndarray:
        pictures = np.ascontiguousarray(as_bytes(frames).permute(0, 2, 3, 1).cpu().numpy())
        count, height, width = pictures.shape[:3]
        info = ClipInfo(
            id="read", source="", end=count / fps, fps=fps, frames=count, height=height, width=width, split="test"
        )
        draft = _Shown(info, b"", fps, None, SourceFile(Path(), "", Path()), pictures=pictures)
        step(draft)
        found = draft.arrays["pose.npz"]
        return visible(np.concatenate([found["keypoints"], found["scores"][..., None]], -1).astype(np.float32))

    return read


class ReadPoses:
    """Poses of all rows, read as their videos are made, and their figures.

    True poses are read off true frames likewise, so that what reading does is the same on both sides.

    Args:
        read: what reads them.
        encoder: the pose autoencoder of FGD and Diversity.
        talks: the clips.
    """

    def __init__(self, read: Reading, encoder: PoseAutoencoder, talks: Sequence[Talk]):
        self.read, self.encoder, self.talks = read, encoder, list(talks)
        self.truth: dict[int, np.ndarray] = {}
        self.made: dict[tuple[str, int], dict[int, np.ndarray]] = {}

    def add(self, row: str, seed: int, number: int, frames: Tensor, shot: Shot) -> None:
        """A video that was made (`trainers.evaluation.video_rows.Watch`)."""
        fps = shot.info.fps
        if number not in self.truth:
            self.truth[number] = self.read(shot.frames, fps)
            height, width = shot.frames.shape[-2:]  # the clip's own may have another shape
            info = shot.info.model_copy(update={"height": height, "width": width})
            self.talks[number] = replace(self.talks[number], info=info)
        own = self.truth[number] if row == "truth" else self.read(frames, fps)
        self.made.setdefault((row, seed), {})[number] = own

    def figures(self, row: str, seed: int) -> dict[str, float]:
        """FGD, Diversity and BAS of a row; of the truth and the autoencoder's own also what reading is worth."""
        numbers = range(len(self.talks))
        poses, truth = ([each[n] for n in numbers] for each in (self.made[row, seed], self.truth))
        found: dict[str, float] = dict(measure_talks(poses, truth, self.talks, self.encoder))
        stored = [talk.pose for talk in self.talks]
        if row in _BY_TRUTH:
            pairs = [
                read_against(one, true, talk.info) for one, true, talk in zip(poses, stored, self.talks, strict=True)
            ]
            for number, name in enumerate(("pose_read_error", "pose_read_motion")):
                found[name] = mean_over_clips([pair[number] for pair in pairs])
        if row == "truth":
            found["bas_stored"] = measure_talks(stored, stored, self.talks, self.encoder)["bas"]
        return {name: value for name, value in found.items() if value == value}


def read_against(read: np.ndarray, true: np.ndarray, info: ClipInfo) -> tuple[float, float]:
    """Mean distance in frame heights, and the share of the variance around the clip's mean; NaN where nothing is.

    Args:
        read, true: (T, 134, 3) each, of one clip; body and hands that are there in both count.
        info: of the clip, for the shape of its frames.
    """
    read, true = read[:, _MOVING], true[:, _MOVING]
    unit = np.array([info.width / info.height if info.width and info.height else 1.0, 1.0])
    there = (read[..., 2] > 0) & (true[..., 2] > 0)
    if not there.any():
        return float("nan"), float("nan")
    away = ((read - true)[..., :2] * unit) ** 2
    counts = np.maximum(there.sum(0), 1)[:, None]
    mean = (true[..., :2] * there[..., None]).sum(0) / counts
    moved = ((true[..., :2] - mean) * unit) ** 2
    spread = float(moved[there].sum())
    error = float(np.sqrt(away.sum(-1))[there].mean())
    return error, 1 - float(away[there].sum()) / spread if spread > 0 else float("nan")
