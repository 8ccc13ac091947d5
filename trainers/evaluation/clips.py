"""The clips that are measured, in memory, as plain arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.media.hearing import audio_onsets
from datamodules.shards.index import Index
from settings import ConfigError
from trainers.evaluation.options import EvaluateOptions

VISIBLE: Final = 0.3  # points below this score are not drawn (`models.human.draw`), so they are not measured either
MISSING: Final = np.array([-1, -1, 0], np.float32)
KEYS: Final = ("pose.npz", "speech.npz", "audio.flac")


@dataclass(frozen=True)
class EvaluationClip:
    """One held-out clip, or its first seconds.

    Attributes:
        info: its clip.json.
        pose: (T, 134, 3) true pose; points below the visible score are missing.
        speech: (T, 35) hand-crafted features, or (T, 35 + C) with a mean of layers behind them.
        onsets: times of speech onsets in seconds.
        phonemes: what is said, where a synthetic speaker tells it.
    """

    info: ClipInfo
    pose: np.ndarray
    speech: np.ndarray
    onsets: np.ndarray
    phonemes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.pose)

    @property
    def aspect(self) -> float:
        """Width over height of the picture; 1 where the clip has none."""
        return self.info.width / self.info.height if self.info.width and self.info.height else 1.0


def handcrafted(speech: dict[str, np.ndarray], clip_id: str) -> np.ndarray:
    """The hand-crafted features (T, 35) of a clip's speech.npz."""
    return speech["handcrafted"]


def load_clips(
    shards: str | Path,
    split: str,
    limit: int | None,
    seconds: float | None,
    hear: Callable[[dict[str, np.ndarray], str], np.ndarray] = handcrafted,
) -> list[EvaluationClip]:
    """Held-out clips with pose, speech features and sound.

    Args:
        shards: folder or URL of the shards.
        split: `test`, `test_unseen`, ...
        limit: at most so many, taken evenly over the split so that every speaker comes in; None is all.
        seconds: only the first seconds of each clip; None is all.
        hear: takes what a model listens to out of a clip's speech.npz; hand-crafted features where left out.
    """
    clips = []
    for info, values in read_clips(shards, KEYS, where={"id": ids_of(Index.load(shards), split, KEYS, limit)}):
        frames = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        audio = values["audio.flac"][: round(frames / info.fps * 16_000)]
        clips.append(
            EvaluationClip(
                info,
                joined(values["pose.npz"])[:frames],
                hear(values["speech.npz"], info.id)[:frames],
                audio_onsets(audio),
                list(info.extra.get("phonemes", [])),
            )
        )
    return clips


def present_splits(index: Index, options: EvaluateOptions, keys: Sequence[str], what: str = "") -> list[str]:
    """The splits to measure: those asked for, else test and test_unseen, else val, else train; those that have clips.

    Args:
        index: of the shards.
        options: of the command.
        keys: that a clip has to have.
        what: the keys in words, for the message.

    Raises:
        ConfigError: none of them has clips.
    """
    for group in [options.splits] if options.splits else [["test", "test_unseen"], ["val"], ["train"]]:
        if found := [split for split in group if ids_of(index, split, keys)]:
            return found
    asked = ", ".join(options.splits or ["any split"])
    raise ConfigError(
        f"{options.shards} has no clips with {what or ' and '.join(keys)} in {asked}; give splits=[...], or "
        "data=FOLDER with held-out clips"
    )


def ids_of(index: Index, split: str, keys: Sequence[str], limit: int | None = None) -> list[str]:
    """Clips of a split that have all of these keys: at most `limit`, spread over all of them."""
    samples = [sample for shard in index.shards for sample in shard.samples]
    return evenly([s.id for s in samples if s.split == split and set(keys) <= set(s.keys)], limit)


def evenly(items: list[str], limit: int | None) -> list[str]:
    """At most `limit` of the items, spread over all of them, in their order."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def joined(pose: dict[str, np.ndarray]) -> np.ndarray:
    """A clip's pose.npz as (T, 134, 3), with what is not visible missing."""
    return visible(np.concatenate([pose["keypoints"], pose["scores"][..., None]], -1).astype(np.float32))


def visible(pose: np.ndarray) -> np.ndarray:
    """The same pose (..., 134, 3) with points below the visible score missing."""
    return np.where(pose[..., 2:] >= VISIBLE, pose, MISSING)
