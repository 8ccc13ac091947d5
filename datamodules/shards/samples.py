"""Reading clips: only the keys asked for are decoded, each clip once for its windows."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from datamodules.clip import BadSample, ClipInfo, check, decode
from datamodules.keys import CHATANYONE, KEYS, LATENTS, VIDEO
from datamodules.media.fitting import Fit, FitMode
from datamodules.shards.cache import ShardFolder
from datamodules.shards.members import read_members, read_npz
from datamodules.shards.table import ClipTable
from settings import get_logger

logger = get_logger(__name__)

_INFO: Final = "clip.json"
WHOLE: Final = "whole/"
"""Before a key: the clip's array in full length as well, in `Batch.whole`, whatever the window."""


@dataclass(frozen=True)
class ReadRequest:
    """What of a clip is read.

    Attributes:
        keys: beside clip.json; "whole/audio.flac" and "whole/speech.npz" are these in full length.
        speech_layers: layers of the pretrained speech model, by their numbers; all that are stored where None.
        video_size: height and width that frames are brought to; the video's own where None.
        video_fit: what happens to frames of another shape.
    """

    keys: tuple[str, ...]
    speech_layers: tuple[int, ...] | None = None
    video_size: tuple[int, int] | None = None
    video_fit: FitMode = "crop"

    def fit(self, info: ClipInfo) -> Fit | None:
        """How a clip's frames come to the size that is wanted; None where none is."""
        if self.video_size is None:
            return None
        return Fit.of(info.height, info.width, self.video_size, self.video_fit)

    def fits(self, infos: Iterable[ClipInfo]) -> list[Fit]:
        """That of each clip; none at all where no frames are read, or at their own size."""
        if VIDEO not in self.keys:
            return []
        return [fit for fit in map(self.fit, infos) if fit is not None]


class Oblong:
    """Says once that frames are cropped or put between bars, and what else could be done.

    Args:
        wanted: how frames are fitted.
    """

    def __init__(self, wanted: ReadRequest):
        self._wanted, self._said = wanted, False

    def __call__(self, infos: Iterable[ClipInfo]) -> None:
        """Look at clips whose frames are in use."""
        for info in () if self._said or "video.mp4" not in self._wanted.keys else infos:
            fit = self._wanted.fit(info)
            if fit is not None and fit.changes:
                self._said = True
                other = "pad" if fit.mode == "crop" else "crop"
                logger.warning(
                    "frames of %d x %d pixels (clip %s) are %s; data.video_fit=%s does otherwise, and "
                    "`preprocessing.run crop=square` cuts videos square around the person",
                    info.width, info.height, info.id, fit.words(), other,
                )  # fmt: skip
                return


@dataclass
class LoadedClip:
    """A clip in memory: what `keys` were asked for, decoded and checked; video.mp4 stays as it is stored."""

    info: ClipInfo
    values: dict[str, Any]
    whole: tuple[str, ...] = ()  # keys that windows take in full length as well

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
        wanted: what to read.
        memory: bytes of decoded clips to keep.
    """

    def __init__(self, table: ClipTable, folder: ShardFolder, wanted: ReadRequest, memory: int = 1 << 30):
        self.table, self.wanted, self._folder, self._memory = table, wanted, folder, memory
        self._whole = tuple(key.removeprefix(WHOLE) for key in wanted.keys if key.startswith(WHOLE))
        self._keys = tuple(dict.fromkeys(key.removeprefix(WHOLE) for key in wanted.keys if key != _INFO))
        self._kept: OrderedDict[int, LoadedClip] = OrderedDict()
        self._held = 0

    def __call__(self, number: int) -> LoadedClip:
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

    def _read(self, number: int) -> LoadedClip:
        table = self.table
        clip_id, size = table.ids[number], int(table.sizes[number])
        with self._folder.open(table.shards[table.shard[number]]) as file:
            file.seek(int(table.offsets[number]))
            section = file.read(size)
        if len(section) < size:
            raise BadSample("tar: the shard ends before the sample does", clip_id)
        members = read_members(section, clip_id, (_INFO, *self._keys))
        info: ClipInfo = decode(_INFO, members[_INFO], clip_id)
        check(_INFO, info, info, clip_id)
        if info.id != clip_id or info.frames != table.frames[number]:
            raise BadSample("clip.json: another clip than the index says", clip_id)
        if abs(info.fps - table.fps) > 1e-3:
            raise BadSample("clip.json: another frame rate than the index says", clip_id)
        values = {}
        for key in self._keys:
            value = decode(key, members[key], clip_id, read_arrays=read_npz)
            check(key, value, info, clip_id)
            if key == "speech.npz" and self.wanted.speech_layers is not None:
                value = value | {"layers": _layers(value, self.wanted.speech_layers, clip_id)}
            read = KEYS[key].read
            values[key] = value if read is None else read(value)
        fit = _stored_fit(info, values) or (self.wanted.fit(info) if VIDEO in values else None)
        return LoadedClip(info, _fitted(values, fit) if fit and fit.changes else values, self._whole)


def _stored_fit(info: ClipInfo, values: dict[str, Any]) -> Fit | None:
    """How the frames came to the shape in which a network saw them; None where no key that it made says so."""
    for key in (LATENTS, CHATANYONE):
        if key in values and "frame" in values[key]:
            height, width, bars = values[key]["frame"].tolist()
            return Fit.of(info.height, info.width, (height, width), "pad" if bars else "crop")
    return None


def _fitted(values: dict[str, Any], fit: Fit) -> dict[str, Any]:
    """Points and boxes of the picture as fractions of the frames as they are fitted."""
    moving = {"points": fit.moved, "boxes": fit.moved_boxes}
    for key, value in values.items():
        marked = [(p.name, p.array.picture) for p in KEYS[key].places if p.array.picture and p.name in value]
        if marked:
            values[key] = value | {name: moving[picture](value[name]) for name, picture in marked}
    return values


def _layers(value: dict[str, np.ndarray], layers: tuple[int, ...], clip_id: str) -> np.ndarray:
    if "layers" not in value:
        raise BadSample("speech.npz: no layers of a pretrained model", clip_id)
    stored = value.get("layer_ids", np.arange(len(value["layers"]))).tolist()
    missing = [layer for layer in layers if layer not in stored]
    if missing:
        raise BadSample(f"speech.npz: layer {missing[0]} is not stored", clip_id)
    return value["layers"][[stored.index(layer) for layer in layers]]
