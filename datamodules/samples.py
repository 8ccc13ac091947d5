"""Reading clips: only the keys asked for are decoded, each clip once for its windows."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from datamodules.cache import ShardFolder
from datamodules.clip import BadSample, ClipInfo, check, decode
from datamodules.members import read_members
from datamodules.table import ClipTable

_INFO: Final = "clip.json"


@dataclass
class Clip:
    """A clip in memory: what `keys` were asked for, decoded and checked; video.mp4 stays as it is stored."""

    info: ClipInfo
    values: dict[str, Any]

    @property
    def bytes(self) -> int:
        """Memory that its values take."""
        total = 0
        for value in self.values.values():
            arrays = value.values() if isinstance(value, dict) else [value]
            total += sum(len(array) if isinstance(array, bytes) else array.nbytes for array in arrays)
        return total


class ClipReader:
    """Reads clips of a table by number and keeps the last ones used, so that a clip's windows decode it once.

    Args:
        table: the clips.
        folder: their shards.
        keys: what to read beside clip.json.
        memory: bytes of decoded clips to keep.
    """

    def __init__(self, table: ClipTable, folder: ShardFolder, keys: Collection[str], memory: int = 1 << 30):
        self.table, self._folder, self._memory = table, folder, memory
        self.keys = tuple(key for key in keys if key != _INFO)
        self._kept: OrderedDict[int, Clip] = OrderedDict()
        self._held = 0

    def __call__(self, number: int) -> Clip:
        """The clip with a number of the table. Raises BadSample."""
        clip = self._kept.get(number)
        if clip is None:
            clip = self._read(number)
            self._kept[number] = clip
            self._held += clip.bytes
            while self._held > self._memory and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].bytes
        else:
            self._kept.move_to_end(number)
        return clip

    def _read(self, number: int) -> Clip:
        table = self.table
        clip_id, size = table.ids[number], int(table.sizes[number])
        with self._folder.open(table.shards[table.shard[number]]) as file:
            file.seek(int(table.offsets[number]))
            section = file.read(size)
        if len(section) < size:
            raise BadSample("tar: the shard ends before the sample does", clip_id)
        members = read_members(section, clip_id, (_INFO, *self.keys))
        info: ClipInfo = decode(_INFO, members[_INFO], clip_id)
        check(_INFO, info, info, clip_id)
        if info.id != clip_id or info.frames != table.frames[number]:
            raise BadSample("clip.json: another clip than the index says", clip_id)
        if abs(info.fps - table.fps) > 1e-3:
            raise BadSample("clip.json: another frame rate than the index says", clip_id)
        values = {}
        for key in self.keys:
            value = decode(key, members[key], clip_id)
            check(key, value, info, clip_id)
            if key == "pose.npz":
                value = {"pose": np.concatenate([value["keypoints"], value["scores"][..., None]], axis=-1)}
            values[key] = value
        return Clip(info, values)
