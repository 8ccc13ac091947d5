"""What an importer makes of one file: clips, and what was left out with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np

from datamodules.clip import KEYS, SAMPLE_RATE, ClipInfo
from models.human.motion import FPS, SIZE
from preprocessing.motion.options import Options
from preprocessing.runs.writer import encoded
from preprocessing.steps import SPEECH

REASONS: Final[dict[str, str]] = {
    "unreadable": "the file cannot be read",
    "missing_file": "a file that is listed, or that belongs to another one, is not there",
    "missing_key": "the file lacks an array that is needed",
    "wrong_shape": "an array has another shape than the format says, as with another number of joints",
    "not_finite": "the motion holds NaN or infinite numbers",
    "wrong_unit": "positions that are no metres, or angles that are no radians",
    "wrong_rate": "the frame rate is no number above 0",
    "unknown_up": "neither y nor z points up along the body",
    "too_short": "the motion, or what was left of it, is shorter than the shortest clip",
    "no_text": "no caption has any text",
    "schema": "what came out does not keep the clip schema",
}
"""Every reason for which a file or a clip is left out; `summary.json` counts by these names."""


class LeftOut(Exception):
    """A file or a clip that cannot be used.

    Args:
        reason: one of `REASONS`.
        detail: what decided, for the summary.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}; the reasons are {', '.join(REASONS)}")
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def unreadable(error: Exception) -> LeftOut:
    """That a file of numpy's cannot be read. Its own advice, to unpickle what it does not know, is not handed on."""
    if "pickle" in str(error):
        return LeftOut("unreadable", "neither npy nor npz, or with pickled objects, which could run code")
    return LeftOut("unreadable", f"{type(error).__name__}: {error}"[:200])


@dataclass(frozen=True)
class MotionClip:
    """A finished clip: its description, and the bytes of its keys in the order of the schema."""

    info: ClipInfo
    members: dict[str, bytes]


@dataclass
class Read:
    """What became of one file.

    Attributes:
        file: its name.
        clips: what goes into the shard.
        left_out: file or clip, reason and detail of everything that does not.
        warnings: what was wrong but could be done without.
    """

    file: str
    clips: list[MotionClip] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def leave_out(self, what: str, error: LeftOut) -> None:
        """Note that a file or a clip cannot be used."""
        self.left_out.append({"file": what, "reason": error.reason, "detail": error.detail})


def encode_clip(info: ClipInfo, values: dict[str, Any], members: dict[str, bytes] | None = None) -> MotionClip:
    """Bytes of a clip's keys, checked as they will be read back.

    Args:
        info: its description.
        values: the other keys, as `datamodules.clip.encode` takes them.
        members: keys that are bytes already and are kept as they are.

    Raises:
        LeftOut: they do not keep the schema.
    """
    try:
        found = {**(members or {}), **encoded(info, {"clip.json": info, **values})}
    except ValueError as error:
        raise LeftOut("schema", str(error)) from error
    return MotionClip(info, {key: found[key] for key in KEYS if key in found})


def pieces(frames: int, least_seconds: float, most_seconds: float) -> list[tuple[int, int]]:
    """First frame and frame after the last of equal pieces, none longer than `most_seconds`.

    Raises:
        LeftOut: too short.
    """
    if frames < max(1, math.ceil(least_seconds * FPS - 1e-9)):
        raise LeftOut("too_short", f"{max(frames, 0) / FPS:g} s, at least {least_seconds:g} s are wanted")
    count = math.ceil(frames / max(1, math.floor(most_seconds * FPS + 1e-9)))
    edges = [round(frames * number / count) for number in range(count + 1)]
    return list(pairwise(edges))


class SpeechFeatures(Protocol):
    """What makes features of speech (`preprocessing.steps.SPEECH`)."""

    def add(self, arrays: dict[str, np.ndarray], audio: np.ndarray, frames: int, fps: float) -> None:
        """Add features of sound (N,), 16 kHz mono, over so many frames to the arrays of `speech.npz`."""


def speech_features(options: Options) -> list[SpeechFeatures]:
    """Those that an import was told to make; built once in every process.

    Raises:
        ConfigError: a pretrained model that is not there.
    """
    return _built(json.dumps(options.speech, sort_keys=True))


@cache
def _built(speech: str) -> list[SpeechFeatures]:
    return [SPEECH.build(one) for one in json.loads(speech)]


def sound_values(audio: np.ndarray, frames: int, speech: Sequence[SpeechFeatures]) -> dict[str, Any]:
    """The keys that a clip's sound gives: itself, and its features, hand-crafted ones at 20 fps.

    Args:
        audio: (N,) 16 kHz mono in [-1, 1], N = round(frames / 20 * 16000).
        frames: of the clip.
        speech: what makes the features.
    """
    arrays: dict[str, np.ndarray] = {}
    for one in speech:
        one.add(arrays, audio, frames, float(FPS))
    return {"audio.flac": audio} | ({"speech.npz": arrays} if arrays else {})


def samples_of(frames: int) -> int:
    """Samples of sound that go with so many frames at 20 fps."""
    return round(frames / FPS * SAMPLE_RATE)


def checked_motion(name: str, motion: np.ndarray) -> np.ndarray:
    """(M, 263) float32, M at least 2, all finite. Raises LeftOut."""
    if motion.ndim != 2 or motion.shape[1] != SIZE:
        raise LeftOut("wrong_shape", f"{name} is {motion.shape}, (frames, {SIZE}) is wanted: 22 joints")
    if motion.dtype.kind not in "fiu":
        raise LeftOut("wrong_shape", f"{name} holds {motion.dtype}, no numbers")
    if len(motion) < 2:
        raise LeftOut("too_short", f"{len(motion)} frame")
    check_finite(name, motion)
    return motion.astype(np.float32)


def check_finite(name: str, array: np.ndarray) -> None:
    """Raise LeftOut unless all numbers of (frames, ...) are finite."""
    bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
    if bad.any():
        raise LeftOut("not_finite", f"{name}, first in frame {int(bad.argmax())}")
