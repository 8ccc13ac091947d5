"""The clips that head motion is measured on, and references of style for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.chatanyone.face_motion import FaceMotion
from models.human.keypoints import FACE, lip_opening
from trainers.evaluation.clips import ids_of, joined


@dataclass(frozen=True)
class Talk:
    """A clip, or its first seconds.

    Attributes:
        info: its clip.json.
        speech: sound (N,) at 16 kHz, or layers (L, S, C) at 50 Hz, as the network hears.
        expression: (T, E) true coefficients.
        pose: (T, 6) true pose of the head.
        identity: (I,).
        seen: (T,) bool, where a face was found.
        lips: (T,) opening of the true lips; NaN where not seen.
    """

    info: ClipInfo
    speech: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    identity: np.ndarray
    seen: np.ndarray
    lips: np.ndarray

    @property
    def frames(self) -> int:
        """Their number, T."""
        return len(self.pose)


def keys_of(network: FaceMotion) -> tuple[str, ...]:
    """Keys that a clip has to have."""
    return ("head.npz", "pose.npz", "audio.flac" if network.audio == "mel" else "speech.npz")


def load_talks(network: FaceMotion, shards: str, split: str, limit: int | None, seconds: float | None) -> list[Talk]:
    """Clips of a split, at most `limit` of them, evenly taken."""
    keys = keys_of(network)
    talks = []
    for info, values in read_clips(shards, keys, where={"id": ids_of(Index.load(shards), split, keys, limit)}):
        frames = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        pose, head = joined(values["pose.npz"])[:frames], values["head.npz"]
        lips = np.where((pose[:, FACE, 2] > 0).all(1), lip_opening(pose), np.nan)
        speech = values["audio.flac"] if network.audio == "mel" else values["speech.npz"]["layers"]
        if network.audio == "mel":
            speech = speech[: round(frames / info.fps * 16_000)]
        else:
            speech = speech[:, : round(frames / info.fps * 50)].astype(np.float32)
        seen = head["error"][:frames] >= 0
        talks.append(
            Talk(info, speech, head["expression"][:frames], head["pose"][:frames], head["identity"], seen, lips)
        )
    return talks


def references_of(talks: Sequence[Talk], pool: Sequence[Talk], frames: int) -> list[np.ndarray] | None:
    """For each clip so many frames of expression (R, E) of another clip of its speaker; None where one has none."""
    found: list[np.ndarray] = []
    for talk in talks:
        own = [
            other
            for other in pool
            if other.info.speaker == talk.info.speaker and other.info.id != talk.info.id and other.frames >= frames
        ]
        if not own:
            return None
        found.append(own[len(found) % len(own)].expression[:frames])
    return found


def others(talks: Sequence[Talk], seed: int) -> list[np.ndarray]:
    """The speech of another clip for each, repeated or cut to its length."""
    shift = 1 + int(np.random.default_rng(seed).integers(max(1, len(talks) - 1)))
    speech = [talks[(i + shift) % len(talks)].speech for i in range(len(talks))]
    if len(talks) == 1:
        speech = (
            [np.roll(talks[0].speech, talks[0].speech.shape[-1] // 2, -1)]
            if talks[0].speech.ndim == 1
            else [np.roll(talks[0].speech, talks[0].speech.shape[1] // 2, 1)]
        )
    axis = 0 if talks[0].speech.ndim == 1 else 1
    return [
        np.take(other, np.arange(talk.speech.shape[axis]) % other.shape[axis], axis)
        for other, talk in zip(speech, talks, strict=True)
    ]
