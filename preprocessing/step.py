"""What passes through the preprocessing steps: a clip on its way (`Draft`), and how a step says no (`Drop`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datamodules.clip import ClipInfo
from preprocessing.videos.span import Crop, Span

REASONS: dict[str, str] = {
    "more_than_one_person": "more than one person is in the picture",
    "no_face": "no face was found in enough of the frames",
    "partial_face": "the face leaves the picture, or only a part of it is found",
    "partial_body": "the body leaves the picture, or too little of it is seen",
    "legs_seen": "more of the body is in the picture than from the waist up",
    "not_facing": "the person does not face the camera",
    "hands_unseen": "the hands are not seen in enough of the frames",
    "poor_hands": "the hands are blurred, or too small to be sharp",
    "unstable_detection": "the key points jump from frame to frame",
    "smplx_fit": "the fitted body is off in too many of the frames",
    "scene_cut": "a scene cut left it too short, or borders on it where such clips are not wanted",
    "past_end": "the span lies behind the end of the video, or reaches past it where such ones are not wanted",
    "too_short": "the video is shorter than the shortest clip",
    "no_audio": "the video has no sound over this clip",
    "silence": "the sound is silent or all but silent",
    "clipping": "the sound is overdriven",
    "noise": "the sound is noisy: its quiet moments are hardly quieter than its loud ones",
    "no_speech": "the sound is not speech, or the mouth does not speak",
}
"""Every reason for which a clip may be dropped, with its meaning; `summary.json` counts by these names."""


class Drop(Exception):
    """A clip that shall not be in the data set.

    Args:
        reason: one of `REASONS`.
        detail: the figure that decided and its limit, for the summary.

    Raises:
        ValueError: when the reason is none of `REASONS`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown drop reason {reason!r}; the reasons are {', '.join(REASONS)}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True)
class SourceFile:
    """One input video, or a part of one.

    Args:
        path: the video file.
        name: its path relative to the input folder, with forward slashes, and the part of it that is meant, as
            `fragment` gives it; names and splits hang on it.
        sidecar: the folder in which files that belong to this video stand, named `<video stem>.<something>`.
        row: its row of the manifest (`speaker`, `language`, `captions`, ...); empty without one.
        span: the seconds of the file that are meant; None is all of it.
        crop: the box of its picture that is meant; None is all of it.
    """

    path: Path
    name: str
    sidecar: Path
    row: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None
    crop: Crop | None = None

    @property
    def video(self) -> str:
        """The name of the file; that of a span has the span behind it."""
        return self.name.removesuffix(fragment(self.span, self.crop))


def fragment(span: Span | None, crop: Crop | None) -> str:
    """What the name of a part of a video has behind the file's own: `#t=12.5,20&crop=0,0,0.5,1`."""
    parts = [f"{key}={value}" for key, value in (("t", span), ("crop", crop)) if value is not None]
    return "#" + "&".join(parts) if parts else ""


@dataclass
class Draft:
    """A clip on its way through the steps; each step adds arrays and figures, or raises `Drop`.

    Args:
        info: the clip's description, times in seconds of the source.
        video: the clip's mp4, T frames at a constant `fps`.
        fps: frames per second of `video` (and of every per-frame array).
        audio: the clip's own samples, float32 (N,), 16 kHz mono, N = round(T / fps * 16000); None without sound.
        arrays: what goes into the shard, by clip key: `arrays["pose.npz"]["keypoints"]`.
        extras: what steps share within one clip and nobody stores, for instance raw detector results.
        figures: quality figures by name; they end in `clip.json` (`extra`) and in the report.
        source: where the clip comes from.
        source_frames: (T,) which frame of the source file, in order of presentation, each frame of `video` shows.
        crop: left, top, right, bottom of `video` as fractions of the source's picture; None where it shows all of it.
    """

    info: ClipInfo
    video: bytes
    fps: float
    audio: np.ndarray | None
    source: SourceFile
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    source_frames: np.ndarray | None = None
    crop: tuple[float, float, float, float] | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the clip's T frames, (H, W, 3) uint8 RGB, one at a time; decodes anew on every call."""
        from datamodules.media.files import read_frames

        return read_frames(self.video)


class Step(Protocol):
    """One step of preprocessing. Its typed constructor is its config; it is built once in every worker process."""

    def __call__(self, draft: Draft) -> None:
        """Add to the draft, in place.

        Raises:
            Drop: when the clip shall not be kept.
        """
