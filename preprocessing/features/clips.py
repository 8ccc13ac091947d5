"""The clips of a shard for a writer: read and decoded by workers, frames in parts, so that memory does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.clip import BadSample, decode
from datamodules.media.video import read_window
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import SampleEntry, ShardEntry
from datamodules.shards.members import read_members
from preprocessing.features.writer import Frames
from settings.progress import Progress

VIDEO: Final = "video.mp4"
Part = tuple[dict[str, bytes], Tensor | None] | str
"""Members of a clip (all of them in its first part) and some frames (n, 3, H, W) uint8; or why it cannot be read."""


class Parts(Dataset):
    """The clips of a shard in parts of some frames.

    Args:
        folder: of the shards.
        shard: which of them.
        reads: keys that every clip has to have.
        frames: how frames come to their size.
        batch: frames of a part.
    """

    def __init__(self, folder: ShardFolder, shard: ShardEntry, reads: tuple[str, ...], frames: Frames, batch: int):
        self._folder, self._shard, self._reads, self._frames = folder, shard, reads, frames
        self.counts = [-(-sample.frames // batch) if VIDEO in reads else 1 for sample in shard.samples]
        self._parts = [
            (sample, start, min(batch, sample.frames - start))
            for sample, count in zip(shard.samples, self.counts, strict=True)
            for start in range(0, count * batch, batch)
        ]

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> Part:
        """One part; where it is damaged, the reason."""
        sample, start, length = self._parts[number]
        try:
            return self._read(sample, start, length)
        except BadSample as error:
            return error.reason

    def _read(self, sample: SampleEntry, start: int, length: int) -> Part:
        wanted = ("clip.json", VIDEO) if start else tuple(sample.keys)
        with self._folder.open(self._shard) as file:
            file.seek(sample.offset)
            members = read_members(file.read(sample.size), sample.id, wanted)
        for key in self._reads:
            if not start and key not in members:
                raise BadSample(f"{key} is missing", sample.id)
        if VIDEO not in self._reads:
            return members, None
        fit = self._frames.fit(decode("clip.json", members["clip.json"], sample.id))
        frames = read_window(members[VIDEO], start, length, fit, sample.id)
        return {} if start else members, torch.from_numpy(frames).permute(0, 3, 1, 2)


@dataclass
class OpenClip:
    """A clip that is being read.

    Attributes:
        sample: what the index says of it.
        members: as stored.
        frames: its frames in parts, each once, on a device. Raises BadSample.
        damage: why it cannot be read.
    """

    sample: SampleEntry
    members: dict[str, bytes]
    frames: Iterator[Tensor]
    damage: str | None = None

    def values(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """Decoded members but the video. Raises BadSample."""
        return {key: decode(key, self.members[key], self.sample.id) for key in keys if key != VIDEO}


def read_clips(
    parts: Parts, shard: ShardEntry, device: torch.device, workers: int, bar: Progress
) -> Iterator[OpenClip]:
    """The clips of a shard in their order; each is used before the next is asked for."""
    more: dict[str, Any] = {"prefetch_factor": 1} if workers else {}
    loader = iter(DataLoader(parts, batch_size=None, num_workers=workers, **more))
    for sample, count in zip(shard.samples, parts.counts, strict=True):
        own: Iterator[Part] = islice(loader, count)
        ahead = bar.done + sample.frames
        first = next(own)
        if isinstance(first, str):
            yield OpenClip(sample, {}, iter(()), first)
        else:
            yield OpenClip(sample, first[0], _frames(first, own, sample, device, bar))
        for _ in own:  # of a clip that was given up
            pass
        if bar.done < ahead:
            bar.advance(ahead - bar.done)


def _frames(
    first: Part, others: Iterator[Part], sample: SampleEntry, device: torch.device, bar: Progress
) -> Iterator[Tensor]:
    part: Part | None = first
    while part is not None:
        if isinstance(part, str):
            raise BadSample(part, sample.id)
        frames = part[1]
        if frames is None:
            return
        yield frames.to(device)
        bar.advance(len(frames))
        part = next(others, None)
