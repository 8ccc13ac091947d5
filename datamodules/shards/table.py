"""Which clips of a data set are used: a table made from the index, and filters on any field of clip.json."""

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from datamodules.clip import BadSample, ClipInfo, decode
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index, SampleEntry
from datamodules.shards.members import read_first
from settings import ConfigError

Where = Mapping[str, Any]

_IN_INDEX: Final = ("id", "frames", "split", "speaker")
_RANGE: Final = {"min", "max"}


class ClipTable:
    """The clips in use, as columns, in the order of the index.

    Attributes:
        fps: frames a second of all clips.
        shards: index entries of the shards.
        ids: (N) clip ids.
        shard, offsets, sizes, frames: (N,) which shard, where in it in bytes, and how many frames.
    """

    def __init__(self, index: Index, chosen: Callable[[SampleEntry], bool] = lambda sample: True):
        self.fps, self.shards = index.fps, [shard.model_copy(update={"samples": []}) for shard in index.shards]
        rows = [
            (number, sample) for number, shard in enumerate(index.shards) for sample in shard.samples if chosen(sample)
        ]
        self.ids = [sample.id for _, sample in rows]
        self.shard = np.array([number for number, _ in rows], np.int64)
        self.offsets = np.array([sample.offset for _, sample in rows], np.int64)
        self.sizes = np.array([sample.size for _, sample in rows], np.int64)
        self.frames = np.array([sample.frames for _, sample in rows], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """Differs when the clips, their lengths or their order differ."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        digest.update(self.shard.tobytes() + self.frames.tobytes())
        return digest.hexdigest()[:16]


def matches(info: Mapping[str, Any], where: Where) -> bool:
    """Whether the fields of a clip.json pass all filters.

    A filter is a value (the field equals it), a list (the field is one of it) or {min: ..., max: ...} (within).
    A dotted name reaches into `extra`.

    Raises:
        ConfigError: no such field, with the nearest one.
    """
    return all(_passes(_field(info, name), wanted, name) for name, wanted in where.items())


def select(
    index: Index, where: Where, folder: ShardFolder, bad: Callable[[str, str], object] | None = None
) -> ClipTable:
    """The clips that pass the filters.

    Filters on id, frames, split and speaker need the index alone; others read each remaining clip.json once and keep
    them in the cache folder.

    Args:
        index: of the data set.
        where: filters, as in `matches`.
        folder: the shards.
        bad: told clip id and reason of samples whose clip.json cannot be read; these are left out.

    Raises:
        ConfigError: a filter on a field that clips do not have.
    """
    quick = {name: wanted for name, wanted in where.items() if name in _IN_INDEX}
    rest = {name: wanted for name, wanted in where.items() if name not in _IN_INDEX}
    for name in rest:
        if name.partition(".")[0] not in ClipInfo.model_fields:
            raise _unknown(name, list(ClipInfo.model_fields))
    table = ClipTable(index, lambda sample: matches(_entry(sample), quick))
    if not rest:
        return table
    infos = read_infos(table, folder, bad)
    passing = {clip_id for clip_id, info in infos.items() if matches(info, rest)}
    return ClipTable(index, lambda sample: sample.id in passing)


def read_infos(
    table: ClipTable, folder: ShardFolder, bad: Callable[[str, str], object] | None = None
) -> dict[str, dict[str, Any]]:
    """clip.json of every clip of a table by id, read from the shards the first time and from the cache folder after."""
    path = _infos_path(table, folder)
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        pass
    infos, whole = {}, True
    for number, clip_id in enumerate(table.ids):
        try:
            infos[clip_id] = _read_info(table, folder, number).model_dump()
        except BadSample as error:
            whole = False
            if bad:
                bad(clip_id, error.reason)
    # With damaged samples nothing is kept, so that they are named at every start.
    if whole:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(infos))
        os.replace(temporary, path)
    return infos


def _read_info(table: ClipTable, folder: ShardFolder, number: int) -> ClipInfo:
    clip_id = table.ids[number]
    with folder.open(table.shards[table.shard[number]]) as file:
        file.seek(int(table.offsets[number]))
        return decode("clip.json", read_first(file, clip_id, "clip.json"), clip_id)


def _infos_path(table: ClipTable, folder: ShardFolder) -> Path:
    content = hashlib.sha256("".join(shard.sha256 for shard in table.shards).encode()).hexdigest()[:16]
    return folder.cache / "infos" / f"{content}-{table.fingerprint}.json"


def _entry(sample: SampleEntry) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in _IN_INDEX}


def _field(info: Mapping[str, Any], name: str) -> Any:
    value: Any = info
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        # What is in `extra` differs from clip to clip: a field that is absent there is None.
        if part not in value and value is info:
            raise _unknown(name, list(info))
        value = value.get(part)
    return value


def _passes(value: Any, wanted: Any, name: str) -> bool:
    if isinstance(wanted, Mapping):
        if not wanted or set(wanted) - _RANGE:
            raise ConfigError(f"filter where.{name}: a range has the keys min and max, got {dict(wanted)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return wanted.get("min", value) <= value <= wanted.get("max", value)
    options = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    # 1 == True in Python, but consent: 1 is not consent: true.
    if isinstance(value, str):  # a speaker called 7
        options = [str(option) if isinstance(option, (int, float)) else option for option in options]
    return any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in options)


def _unknown(name: str, known: list[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"clips have: {', '.join(known)}"
    return ConfigError(f"filter where.{name}: clip.json has no field '{name}'; {hint}")
