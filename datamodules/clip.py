"""What a clip is: how each key of a sample is encoded, decoded and checked; the table of keys is `datamodules/keys.py`.

A sample of a shard is one continuous clip of at most 30 s. `clip.json` is required, every other key optional. Values
are checked on writing and on reading; a bad one raises `BadSample`, which readers count and name (`BadSamples`).
"""

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datamodules.keys import KEYS, SAMPLE_RATE, SPEECH_RATE
from settings.log import get_logger

logger = get_logger(__name__)

VERSION: Final = 1
_EXAMPLES: Final = 3  # of each reason, in messages
_ID: Final = re.compile(r"[A-Za-z0-9_-]+")


class BadSample(ValueError):
    """A sample that does not keep the schema.

    Attributes:
        reason: short and countable, "pose.npz: NaN in keypoints".
        clip_id: whose sample it is.
    """

    def __init__(self, reason: str, clip_id: str = ""):
        super().__init__(f"{clip_id}: {reason}" if clip_id else reason)
        self.reason, self.clip_id = reason, clip_id

    def __reduce__(self):
        return BadSample, (self.reason, self.clip_id)


class TooManyBadSamples(RuntimeError):
    """More samples are damaged than a run may skip; the message gives reasons and examples."""


class BadSamples:
    """What was skipped so far in this process.

    Args:
        limit: share of the samples read that may be damaged.
        minimum: number of damaged samples below which the share does not matter.
    """

    def __init__(self, limit: float = 0.01, minimum: int = 20):
        self._limit, self._minimum = limit, minimum
        self.reasons: dict[str, str] = {}

    @property
    def counts(self) -> Counter[str]:
        """Damaged samples by reason."""
        return Counter(self.reasons.values())

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, clip_id: str, reason: str) -> bool:
        """Count a sample, once, and name it in the log; whether it was new."""
        if clip_id in self.reasons:
            return False
        self.reasons[clip_id] = reason
        logger.warning("skipped sample %s: %s (%d so far)", clip_id, reason, len(self))
        return True

    def check(self, read: int) -> None:
        """Raise TooManyBadSamples if too many of the samples read are damaged."""
        if len(self) >= self._minimum and len(self) > self._limit * read:
            raise TooManyBadSamples(self.describe(read))

    def describe(self, read: int) -> str:
        """What happened and what to do, with examples of each reason."""
        lines = []
        for reason, count in self.counts.most_common():
            named = [clip_id for clip_id, why in self.reasons.items() if why == reason][:_EXAMPLES]
            lines.append(f"{count} x {reason} ({', '.join(named)}{', ...' if count > len(named) else ''})")
        return (
            f"{len(self)} of {read} samples read are damaged, more than bad_sample_limit={self._limit:g}: "
            f"{'; '.join(lines)}. Run `python -m preprocessing.verify SHARDS` to see all, make the shards again, "
            "or raise data.bad_sample_limit"
        )


class Caption(BaseModel):
    """Words spoken, or an action described, from `start` to `end` seconds of the clip."""

    model_config = ConfigDict(extra="forbid")
    start: float
    end: float
    text: str


class ClipInfo(BaseModel):
    """`clip.json`: where a clip comes from and how long it is."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    source: str = Field(description="file name of the source video")
    sha256: str = Field(default="", description="of the source file")
    start: float = Field(default=0.0, ge=0, description="seconds in the source")
    end: float = Field(description="seconds in the source")
    fps: float = Field(gt=0)
    frames: int = Field(gt=0)
    width: int = Field(default=0, ge=0, description="pixels; 0 for a clip without video")
    height: int = Field(default=0, ge=0)
    sample_rate: int | None = None
    samples: int | None = Field(default=None, description="of audio.flac; None without sound")
    speaker: str | None = None
    language: str | None = None
    captions: list[Caption] = []
    licence: str | None = None
    consent: bool | str | None = None
    generated: str | None = Field(default=None, description="SHA-256 of the network that made the frames, if one did")
    split: str = "train"
    version: int = Field(default=VERSION, description="of the preprocessing that wrote it")
    extra: dict[str, Any] = Field(default={}, description="figures of the quality filter, phonemes, ...")


def encode(key: str, value: Any) -> bytes:
    """Bytes of one key of a sample; the same value always gives the same bytes.

    Args:
        key: one of `KEYS`.
        value: `ClipInfo` for clip.json, bytes for video.mp4, (N,) float32 in [-1, 1] at 16 kHz for audio.flac, else a
            dict of arrays as in `KEYS`.
    """
    _known(key)
    if key == "clip.json":
        return json.dumps(value.model_dump(), ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
    if key == "video.mp4":
        return bytes(value)
    if key == "audio.flac":
        from datamodules.media.files import encode_flac

        return encode_flac(value, SAMPLE_RATE)
    fields = KEYS[key].arrays
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise BadSample(f"{key}: unknown array {unknown[0]}")
    buffer = io.BytesIO()
    ordered = {name: np.asarray(value[name]).astype(fields[name].dtype) for name in fields if name in value}
    save = np.savez_compressed if KEYS[key].compressed else np.savez
    save(buffer, allow_pickle=False, **ordered)
    return buffer.getvalue()


def _numpy_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an archive by name, as numpy reads them; nothing is unpickled."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def decode(
    key: str, data: bytes, clip_id: str = "", read_arrays: Callable[[bytes], dict[str, np.ndarray]] = _numpy_arrays
) -> Any:
    """The value that `encode` was given.

    Args:
        key: one of `KEYS`.
        data: as stored.
        clip_id: for errors.
        read_arrays: of an npz; `datamodules.shards.members.read_npz` is faster, and its arrays cannot be written to.

    Raises:
        BadSample: the bytes cannot be read; nothing is unpickled.
    """
    _known(key)
    try:
        if key == "clip.json":
            return ClipInfo.model_validate_json(data)
        if key == "video.mp4":
            return data
        if key == "audio.flac":
            from datamodules.media.files import decode_flac

            return decode_flac(data)
        return read_arrays(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadSample(f"{key}: {'.'.join(map(str, first['loc']))}: {first['msg']}", clip_id) from None
    except Exception as error:  # zipfile, the decompressor, numpy and libsndfile each raise kinds of their own
        raise BadSample(f"{key}: cannot be decoded ({type(error).__name__})", clip_id) from None


def check(key: str, value: Any, info: ClipInfo, clip_id: str = "") -> None:
    """Raise BadSample unless the value of a key keeps the schema and fits the clip's length."""
    _known(key)
    clip_id = clip_id or info.id
    if key == "clip.json":
        if not _ID.fullmatch(value.id):
            raise BadSample("clip.json: id has other signs than letters, digits, _ and -", clip_id)
    elif key == "video.mp4":
        if len(value) < 16 or value[4:8] != b"ftyp":
            raise BadSample("video.mp4: not an mp4 file", clip_id)
    elif key == "audio.flac":
        _check_audio(value, info, clip_id)
    else:
        _check_arrays(key, value, info, clip_id)


def _known(key: str) -> None:
    if key not in KEYS:
        raise KeyError(f"'{key}' is not a key of a clip; known: {', '.join(KEYS)}")


def _check_audio(value: np.ndarray, info: ClipInfo, clip_id: str) -> None:
    if value.ndim != 1:
        raise BadSample("audio.flac: not mono", clip_id)
    if info.samples is not None and len(value) != info.samples:
        raise BadSample("audio.flac: other length than clip.json says", clip_id)
    if not np.isfinite(value).all():
        raise BadSample("audio.flac: NaN or infinite", clip_id)


def _check_arrays(key: str, value: dict[str, np.ndarray], info: ClipInfo, clip_id: str) -> None:
    fields = KEYS[key].arrays
    for name in value:
        if name not in fields:
            raise BadSample(f"{key}: unknown array {name}", clip_id)
    for name, field in fields.items():
        if name not in value:
            if field.optional:
                continue
            raise BadSample(f"{key}: {name} is missing", clip_id)
        array = value[name]
        sizes: dict[int | str, int] = {"T": info.frames, "S": round(info.frames / info.fps * SPEECH_RATE)}
        if array.ndim != len(field.shape) or any(
            want != have
            for want, have in zip((sizes.get(s, s) for s in field.shape), array.shape)
            if isinstance(want, int)
        ):
            raise BadSample(f"{key}: {name} has a wrong shape", clip_id)
        if array.dtype != np.dtype(field.dtype):
            raise BadSample(f"{key}: {name} has a wrong type", clip_id)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadSample(f"{key}: NaN or infinite in {name}", clip_id)
        if array.size and field.low is not None and array.min() < field.low:
            raise BadSample(f"{key}: {name} out of range", clip_id)
        if array.size and field.high is not None and array.max() > field.high:
            raise BadSample(f"{key}: {name} out of range", clip_id)
