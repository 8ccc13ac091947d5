"""What a trained model has to beat: simple answers to the same question, and the model with the wrong sound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from trainers.evaluation.clips import KEYS, MISSING, EvaluationClip, ids_of, joined
from trainers.evaluation.exchange import exchanged


def mean_pose(clips: Sequence[EvaluationClip], statistics: dict[str, Any]) -> list[np.ndarray]:
    """The mean pose of the training split, held: one (T, 134, 3) per clip."""
    mean = np.concatenate([np.asarray(statistics["pose"]["mean"], np.float32), np.ones((134, 1), np.float32)], -1)
    return [np.repeat(mean[None], clip.frames, 0) for clip in clips]


def own_mean_pose(clips: Sequence[EvaluationClip]) -> list[np.ndarray]:
    """Each clip's own true mean pose, held: no model can know it; it is the best that does not move."""
    poses = []
    for clip in clips:
        visible = clip.pose[..., 2:] > 0
        mean = (clip.pose * visible).sum(0) / np.maximum(visible.sum(0), 1)
        poses.append(np.repeat(np.where(visible.any(0), mean, MISSING)[None], clip.frames, 0))
    return poses


def held_pose(clips: Sequence[EvaluationClip]) -> list[np.ndarray]:
    """Each clip's first pose, held."""
    return [np.repeat(clip.pose[:1], clip.frames, 0) for clip in clips]


def other_speech(clips: Sequence[EvaluationClip], seed: int) -> list[np.ndarray]:
    """For each clip the speech features (T, C) of another one, repeated or cut to its length; no clip keeps its own.

    With a single clip its own speech, turned by half its length.
    """
    return exchanged([clip.speech for clip in clips], seed)


class NearestNeighbour:
    """Moves as the training window does whose speech is nearest (Euclidean over a window of standardised features).

    Windows of the clip's own speaker are preferred where there are any, so that a known speaker is not answered with
    another one's body.

    Args:
        shards: folder or URL of the shards.
        statistics: of the index, for standardising.
        window: frames of a window.
        limit: at most so many training windows, spread over the split.
        keys: that a training clip has to have.
    """

    def __init__(
        self,
        shards: str | Path,
        statistics: dict[str, Any],
        window: int = 80,
        limit: int = 2000,
        keys: Sequence[str] = KEYS,
    ):
        self.window = window
        self._mean = np.asarray(statistics["handcrafted"]["mean"], np.float32)
        self._std = np.asarray(statistics["handcrafted"]["std"], np.float32)
        speech, poses, speakers, places = [], [], [], []
        # A clip gives at least one window, so no more clips than windows are read of a huge data set.
        chosen = {"id": ids_of(Index.load(shards), "train", keys, limit)}
        for info, values in read_clips(shards, ("pose.npz", "speech.npz"), where=chosen):
            pose = joined(values["pose.npz"])
            features = self._standard(values["speech.npz"]["handcrafted"])
            for start in range(0, info.frames - window + 1, window // 2):
                speech.append(features[start : start + window])
                poses.append(pose[start : start + window])
                speakers.append(info.speaker)
                places.append((info.id, start))
        keep = np.linspace(0, len(speech) - 1, min(limit, len(speech))).round().astype(int)
        self._speech = (
            np.stack([speech[i] for i in keep]) if len(keep) else np.zeros((0, window, len(self._mean)), np.float32)
        )
        self._poses = [poses[i] for i in keep]
        self._places = [places[i] for i in keep]
        self._speakers = np.array([speakers[i] for i in keep], dtype=object)

    def __len__(self) -> int:
        return len(self._poses)

    def poses(self, clips: Sequence[EvaluationClip]) -> list[np.ndarray]:
        """One (T, 134, 3) per clip, put together from windows."""
        return [
            np.concatenate([self._poses[i][:count] for i, count in self._follow(clip.speech, clip.info.speaker)])
            for clip in clips
        ]

    def places(self, speech: np.ndarray, speaker: str | None) -> list[tuple[str, int, int]]:
        """Which training frames answer speech (T, C) of a speaker: clip, first frame, number of frames; T in all."""
        return [(*self._places[i], count) for i, count in self._follow(speech, speaker)]

    def _follow(self, speech: np.ndarray, speaker: str | None) -> list[tuple[int, int]]:
        """The nearest window for every window of speech (T, C), and how many of its frames are wanted."""
        own = np.flatnonzero(self._speakers == speaker) if speaker is not None else np.zeros(0, int)
        bank = own if len(own) else np.arange(len(self))
        features, found = self._standard(speech[:, : len(self._mean)]), []
        for start in range(0, len(features), self.window):
            part = features[start : start + self.window]
            gaps = np.square(self._speech[bank, : len(part)] - part).sum((1, 2))
            found.append((int(bank[int(gaps.argmin())]), len(part)))
        return found

    def _standard(self, speech: np.ndarray) -> np.ndarray:
        return ((speech - self._mean) / self._std).astype(np.float32)
