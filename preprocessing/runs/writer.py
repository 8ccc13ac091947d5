"""Samples to tar members, members to part files, part files to shards: each file appears whole or not at all.

A part holds one video's samples as the very bytes that stand in the shard; a shard is its parts one after the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from datamodules.clip import KEYS, BadSample, ClipInfo, check, decode, encode
from preprocessing.step import Draft
from settings.output import SPACE, OutputError

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)  # closes a tar file


@contextmanager
def whole_file(path: Path) -> Iterator[OutputFile]:
    """Open a file for writing that gets its name only when all of it is on the disk.

    Raises:
        OutputError: a full disk, a missing right or another fault of the folder; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with refused_as_output_error(path.parent):
            raw = open(temporary, "wb")  # noqa: SIM115 (closed below)
        with raw:
            file = OutputFile(raw, path.parent)
            yield file
            file.finish()
        with refused_as_output_error(path.parent):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class OutputFile:
    """A file being written; its own faults, and no others, are the output folder's.

    Args:
        raw: the open file.
        folder: named in errors.
    """

    def __init__(self, raw: IO[bytes], folder: Path) -> None:
        self._raw, self._folder = raw, folder

    def write(self, data: bytes) -> None:
        """Write all of `data`, or raise OutputError."""
        with refused_as_output_error(self._folder):
            self._raw.write(data)

    def finish(self) -> None:
        """Bring everything onto the disk."""
        with refused_as_output_error(self._folder):
            self._raw.flush()
            os.fsync(self._raw.fileno())


@contextmanager
def refused_as_output_error(folder: Path) -> Iterator[None]:
    """Turn what the file system says into a sentence about the output folder."""
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno in SPACE else error.strerror or str(error)
        cure = "free some space" if error.errno in SPACE else "make it writable"
        raise OutputError(
            f"cannot write to {folder}: {what}; {cure} and start again, finished videos are kept"
        ) from error


def make_folder(folder: Path) -> None:
    """Make an output folder if it is not there. Raises OutputError."""
    with refused_as_output_error(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain values, whole or not at all."""
    with whole_file(path) as file:
        file.write(
            (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        )


def member(name: str, data: bytes) -> bytes:
    """One file of a tar: header, data, padding; the same name and data always give the same bytes."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def sample_values(draft: Draft) -> dict[str, Any]:
    """The keys of a finished draft and their values, in the order of the schema."""
    values: dict[str, Any] = {"clip.json": draft.info, "video.mp4": draft.video, **draft.arrays}
    if draft.audio is not None:
        values["audio.flac"] = draft.audio
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise BadSample(f"{unknown[0]} is no key of a clip", draft.info.id)
    return {key: values[key] for key in KEYS if key in values}


class SampleWriter:
    """Writes samples behind each other, and keeps what an index says of them.

    Args:
        file: where to.
    """

    def __init__(self, file: OutputFile) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.bytes = 0
        self.samples: list[dict[str, Any]] = []

    @property
    def sha256(self) -> str:
        """Of everything written so far."""
        return self._hash.hexdigest()

    def append(self, data: bytes, entry: dict[str, Any]) -> None:
        """Write the members of one sample; the entry is as `sample_entry` gives it."""
        self._write(data)
        self.samples.append({**entry, "offset": self.bytes, "size": len(data)})
        self.bytes += len(data)

    def end(self, name: str) -> dict[str, Any]:
        """Close the tar; gives what the index says of the shard."""
        self._write(END)
        size = self.bytes + len(END)
        return {"name": name, "bytes": size, "sha256": self.sha256, "samples": self.samples}

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)


class PartWriter(SampleWriter):
    """Writes the samples of one video behind each other."""

    def add(self, draft: Draft) -> None:
        """Append one clip, after checking that what will be read back keeps the schema.

        Raises:
            BadSample: a step made something that the schema does not allow.
        """
        members = encoded(draft.info, sample_values(draft))
        data, sizes = packed(draft.info.id, members)
        self.append(data, sample_entry(draft.info, sizes))


def encoded(info: ClipInfo, values: Mapping[str, Any]) -> dict[str, bytes]:
    """Bytes of a clip's keys, checked as they will be read back. Raises BadSample where the schema is not kept."""
    found: dict[str, bytes] = {}
    for key, value in values.items():
        try:
            found[key] = encode(key, value)
        except ValueError as error:
            raise BadSample(f"{key}: {error}", info.id) from error
        check(key, decode(key, found[key], info.id), info, info.id)
    return found


def packed(clip_id: str, members: Mapping[str, bytes]) -> tuple[bytes, dict[str, int]]:
    """A sample as it stands in a tar, and the size of each key."""
    data = b"".join(member(f"{clip_id}.{key}", value) for key, value in members.items())
    return data, {key: len(value) for key, value in members.items()}


def sample_entry(info: ClipInfo, keys: dict[str, int]) -> dict[str, Any]:
    """What the index says of one sample (`datamodules.shards.index.SampleEntry`), but where it lies."""
    return {"id": info.id, "keys": keys, "frames": info.frames, "split": info.split, "speaker": info.speaker}


def read_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and data of every member in tar bytes without an end mark.

    Raises:
        tarfile.TarError: a damaged header.
    """
    position = 0
    while position < len(data):
        header = tarfile.TarInfo.frombuf(data[position : position + BLOCK], "utf-8", "strict")
        position += BLOCK
        yield header.name, data[position : position + header.size]
        position += -(-header.size // BLOCK) * BLOCK
