"""The command `python -m preprocessing.verify FOLDER`: shards against their index, every fault by name."""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from datamodules.clip import KEYS, BadSample, check, decode
from datamodules.shards.index import Index, IndexFileError, SampleEntry, ShardEntry
from preprocessing.runs.writer import BLOCK, END
from settings import command
from settings.hashes import file_hash
from settings.progress import Progress


def verify(folder: str | Path, decoded: bool = True, progress: Progress | None = None) -> Iterator[str]:
    """Yield one line for everything that is wrong with a folder of shards; nothing where all is well.

    Checked are the shards' sizes and sha256 sums, that no shard is missing or too many, every sample's place, keys
    and bytes, and (with `decoded`) that every key can be decoded and keeps the schema, video frames counted.

    Args:
        folder: holds index.json and the shards.
        decoded: False leaves the decoding out and is as fast as the disk.
        progress: told how many bytes are checked, each once for its sum and once for what it holds.
    """
    folder, progress = Path(folder), progress or Progress("", shown=False)
    if not folder.is_dir():
        yield f"{folder}: no such folder"
        return
    if (folder / "work").exists():
        yield f"{folder / 'work'}: preprocessing has not finished; start it again, it goes on"
    try:
        index = Index.load(folder)
    except IndexFileError as error:
        yield f"index.json: {error}"
        return
    named = [shard.name for shard in index.shards]
    for name in sorted({name for name in named if named.count(name) > 1}):
        yield f"index.json: {name} is listed twice"
    for path in sorted(folder.glob("*.tar")):
        if path.name not in named:
            yield f"{path.name}: not in the index"
    clips: dict[str, str] = {}
    progress.expect(2 * sum(shard.bytes for shard in index.shards))
    for shard in index.shards:
        for sample in shard.samples:
            twin = clips.setdefault(sample.id, shard.name)
            if twin != shard.name or sum(other.id == sample.id for other in shard.samples) > 1:
                yield f"{shard.name}: {sample.id}: the clip stands in {twin}, too"
        if not re.fullmatch(r"[\w.-]+", shard.name):
            yield f"index.json: {shard.name!r} is no name of a shard"
            continue
        end = progress.done + 2 * shard.bytes
        for fault in _verify_shard(folder / shard.name, shard, decoded, progress):
            yield f"{shard.name}: {fault}"
        progress.advance(end - progress.done)


def _verify_shard(path: Path, shard: ShardEntry, decoded: bool, progress: Progress) -> Iterator[str]:
    """Yield what is wrong with one shard."""
    progress.say(shard.name)
    if not path.is_file():
        yield "missing"
        return
    size = path.stat().st_size
    if size != shard.bytes:
        yield f"{size} bytes, the index says {shard.bytes}" + ("; cut off" if size < shard.bytes else "")
    with open(path, "rb") as file:
        digest = file_hash(path)
        if digest != shard.sha256:
            yield f"sha256 is {digest[:16]}..., the index says {shard.sha256[:16]}..."
        progress.advance(shard.bytes)
        position = 0
        for sample in shard.samples:
            if sample.offset != position:
                yield f"{sample.id}: begins at byte {sample.offset} by the index, the one before ends at {position}"
            position = sample.offset + sample.size
            for fault in _verify_sample(file, sample, decoded):
                yield f"{sample.id}: {fault}"
            progress.advance(sample.size)
        file.seek(position)
        if file.read(len(END)) != END:
            yield f"more, or something else, after the last sample at byte {position}"


def _verify_sample(file: IO[bytes], sample: SampleEntry, decoded: bool) -> Iterator[str]:
    members: dict[str, bytes] = {}
    for name, data in _members(file, sample):
        if data is None:
            yield name
            break
        stem, _, key = name.partition(".")
        if stem != sample.id:
            yield f"holds {name}, which belongs to another sample"
        elif key in members:
            yield f"{key} stands in it twice"
        else:
            members[key] = data
    for key in sample.keys:
        if key not in members:
            yield f"{key} is missing"
        elif len(members[key]) != sample.keys[key]:
            yield f"{key} has {len(members[key])} bytes, the index says {sample.keys[key]}"
    for key in members:
        if key not in sample.keys:
            yield f"{key} is not in the index"
    if members and next(iter(members)) != "clip.json":
        yield "clip.json is not first"
    if decoded:
        yield from _verify_values(members, sample)


def _members(file: IO[bytes], sample: SampleEntry) -> Iterator[tuple[str, bytes | None]]:
    """Name and data of the sample's members; a fault's sentence and None where they cannot be read on."""
    position, end = sample.offset, sample.offset + sample.size
    while position < end:
        file.seek(position)
        head = file.read(BLOCK)
        if len(head) < BLOCK:
            yield f"cut off at byte {position}", None
            return
        try:
            header = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except (tarfile.TarError, UnicodeDecodeError):
            yield f"damaged tar header at byte {position}", None
            return
        data = file.read(header.size) if position + BLOCK + header.size <= end else b""
        if len(data) < header.size:
            yield f"{header.name} is cut off", None
            return
        yield header.name, data
        position += BLOCK + -(-header.size // BLOCK) * BLOCK


def _verify_values(members: dict[str, bytes], sample: SampleEntry) -> Iterator[str]:
    if "clip.json" not in members:
        return
    try:
        info = decode("clip.json", members["clip.json"], sample.id)
        check("clip.json", info, info, sample.id)
    except BadSample as error:
        yield error.reason
        return
    for name in ("id", "frames", "split", "speaker"):
        value = getattr(sample, name)
        if getattr(info, name) != value:
            yield f"clip.json: {name} is {getattr(info, name)!r}, the index says {value!r}"
    for key, data in members.items():
        if key == "clip.json":
            continue
        if key not in KEYS:
            yield f"{key} is no key of a clip"
            continue
        try:
            value = decode(key, data, sample.id)
            check(key, value, info, sample.id)
        except BadSample as error:
            yield error.reason
            continue
        if key == "video.mp4":
            yield from _verify_video(data, info.frames, (info.width, info.height))
    if info.samples is not None and "audio.flac" not in members:
        yield f"audio.flac is missing, clip.json says {info.samples} samples"


def _verify_video(data: bytes, frames: int, size: tuple[int, int]) -> Iterator[str]:
    from datamodules.media.files import MediaError, read_frames

    count = 0
    try:
        for picture in read_frames(data):
            count += 1
            if picture.shape[1::-1] != size:
                yield f"video.mp4: {picture.shape[1]} x {picture.shape[0]} pixels, clip.json says {size[0]} x {size[1]}"
                return
    except MediaError as error:
        yield f"video.mp4: {error}"
        return
    if count != frames:
        yield f"video.mp4: {count} frames, clip.json says {frames}"


def verify_folder(*, folder: Path, fast: bool = False) -> int:
    """Check shards against their index and print every fault by name.

    Args:
        folder: holds index.json and the shards.
        fast: sizes, checksums and places only, nothing is decoded.

    Returns:
        How many faults there are.
    """
    faults = 0
    with Progress(f"checking {folder}", unit="B") as progress:
        for line in verify(folder, not fast, progress):
            progress.print(line)
            faults += 1
    return faults


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where something is wrong."""
    values = command(verify_folder, argv, prog="python -m preprocessing.verify", positional="folder")
    faults = verify_folder(**values)
    if faults:
        print(f"{faults} faults in {values['folder']}", file=sys.stderr)
        return 1
    index = Index.load(values["folder"])
    print(f"{values['folder']} is whole: {len(index.shards)} shards, {index.samples} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
