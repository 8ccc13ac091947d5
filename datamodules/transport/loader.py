"""Batches in an order that can be taken up anywhere: the dataset that workers run, the loader that keeps the place."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from datamodules.batch import Batch
from datamodules.clip import BadSample, BadSamples, TooManyBadSamples
from datamodules.collate import Window, cut_window
from datamodules.media.video import read_window
from datamodules.order.streams import EpochOrder, Partition, Shuffle, groups_of
from datamodules.order.windows import Cut
from datamodules.shards.samples import ClipReader, Oblong
from datamodules.transport.memory import keep_freed_memory
from datamodules.transport.messages import BatchMessage, Gatherer, InfoCache, Maker, Packer, Unpacker
from datamodules.transport.shared_memory import SharedMemoryPool


@dataclass
class EpochPosition:
    """Where an epoch stands, the same on every rank and for any number of workers.

    Attributes:
        epoch: number of the epoch.
        position: windows of the epoch that all ranks together have taken.
        steps: batches that each rank has taken.
        chunk: batch size with which the epoch was ordered.
        total: windows of the epoch.
    """

    epoch: int
    position: int
    steps: int
    chunk: int
    total: int


class WindowDataset(IterableDataset):
    """Batches of one rank from a place on. A worker makes every W-th batch; what it makes depends on the place alone.

    A window that cannot be read is replaced by the next good one of the sequence, so that batches keep their size,
    ranks keep step, and a resumed run makes the same choice.

    Args:
        reader: of the clips.
        cut: how windows are cut.
        shuffle: how they are shuffled.
        partition: which of them this rank reads.
        pinned: make batches in page-locked memory where there are no workers.
    """

    def __init__(
        self,
        reader: ClipReader,
        cut: Cut,
        shuffle: Shuffle,
        partition: Partition,
        pinned: bool = False,
    ):
        self.reader, self.cut, self.shuffle, self.partition = reader, cut, shuffle, partition
        self._video, self._pinned = "video.mp4" in reader.wanted.keys, pinned
        self.length = None if cut.mode == "clip" else cut.length
        table = reader.table
        self.windows = int(cut.counts(table.frames).sum())
        # Workers outlive an epoch: through shared memory they learn where to begin and tell which clips they have read.
        self._begin = torch.zeros(5, dtype=torch.int64).share_memory_()
        self._read = torch.zeros(len(table), dtype=torch.uint8).share_memory_()
        self._bad: dict[int, str] = {}
        self._sent, self._pool, self._era = InfoCache(), SharedMemoryPool(), 0

    def begin(self, place: EpochPosition, anew: bool) -> None:
        """Where the next iteration starts, in all workers; `anew` if what they have sent before is forgotten."""
        era = int(self._begin[4]) + anew
        self._begin.copy_(torch.tensor([place.epoch, place.position, place.chunk, place.total, era]))

    @property
    def samples_read(self) -> int:
        """Different clips that were read so far, damaged or not."""
        return int(self._read.sum())

    def order(self, epoch: int, chunk: int) -> EpochOrder:
        """The sequence of an epoch."""
        table = self.reader.table
        groups = groups_of(table.ids) if self.shuffle.pairs else None
        return EpochOrder(table.shard, table.frames, self.cut, self.shuffle, epoch, chunk, groups)

    def ids(self, order: EpochOrder, places: list[int]) -> list[str]:
        """Sample ids at places of a sequence."""
        windows = (order.take(place, place + 1)[0] for place in places)
        return [f"{self.reader.table.ids[number]}@{start}" for number, start in windows]

    def __iter__(self) -> Iterator[BatchMessage]:
        epoch, position, chunk, total, era = self._begin.tolist()
        if era != self._era:
            self._sent.clear()
            self._pool.clear()
            self._era = era
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            keep_freed_memory()
        order = self.order(epoch, chunk)
        for step in range(first, self.partition.steps(position, total), stride):
            places = self.partition.places(self.partition.advance(position, total, step), total)
            message = BatchMessage(first)
            maker = Packer(message, self._pool) if worker else Gatherer(message, self._pinned)
            windows = self._fill(message, order, places, maker)
            try:
                maker.finish(windows)
            except ValueError as error:
                message.error = str(error)
            yield message

    def _fill(self, message: BatchMessage, order: EpochOrder, places: list[int], maker: Maker) -> list[Window]:
        """Read the windows at some places, or others where these are damaged."""
        windows: list[Window] = []
        whole = places[-1] - places[0] == len(places) - 1
        runs = [(places[0], places[-1] + 1)] if whole else [(place, place + 1) for place in places]
        taken = [window for run in runs for window in order.take(*run)]
        for place, (number, start) in zip(places, taken, strict=True):
            left = len(places) - len(windows)
            window = self._read_one(number, start, message, maker, left)
            other = place
            while window is None:
                other += 1
                if other > place + order.windows:
                    raise TooManyBadSamples("no sample can be read: " + self._describe(message))
                window = self._read_one(*order.take(other, other + 1)[0], message, maker, left)
            windows.append(window)
        return windows

    def _read_one(self, number: int, start: int, message: BatchMessage, maker: Maker, left: int) -> Window | None:
        """One of so many windows that are left; frames of video go to the maker. None if it cannot be read."""
        if number in self._bad:
            return None
        clip_id = self.reader.table.ids[number]
        self._read[number] = 1
        try:
            clip = self.reader(number)
        except BadSample as error:
            self._bad[number] = message.bad[clip_id] = error.reason
            return None
        window = cut_window(clip, start, self.length)
        if self._video:
            data, room = clip.values["video.mp4"], partial(maker.room, windows=left)
            try:
                fit = self.reader.wanted.fit(clip.info)
                maker.add_frames(read_window(data, start, window.frames, fit, clip_id, room))
            except BadSample as error:
                # Only these frames are damaged: other windows of the clip stay in use, whichever worker reads them.
                message.bad[clip_id] = error.reason
                return None
        self._sent.add(number, clip.info, message)
        message.windows.append((number, start, window.frames))
        return window

    def _describe(self, message: BatchMessage) -> str:
        bad = BadSamples(0, 0)
        bad.reasons = {self.reader.table.ids[number]: reason for number, reason in self._bad.items()} | message.bad
        return bad.describe(self.samples_read)


class ClipLoader(StatefulDataLoader):
    """A StatefulDataLoader whose state is a place in the global sequence of an epoch.

    The state is one small dict, equal on all ranks and for any number of workers: `load_state_dict` jumps to the place,
    nothing is read over again. An iteration that was begun and left goes on with the next epoch.

    Args:
        dataset: what to read.
        bad: where skipped samples are counted.
        fingerprint: of data and windows; a state of another one is refused.
        total: windows of an epoch.
        fixed: always the same epoch (validation).
        pinned: make batches in page-locked memory.
        oblong: told of the clips that are read.
        options: of StatefulDataLoader.
    """

    def __init__(
        self,
        dataset: WindowDataset,
        bad: BadSamples,
        fingerprint: str,
        total: int,
        fixed: bool = False,
        pinned: bool = False,
        oblong: Oblong | None = None,
        **options: Any,
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # torchdata 0.11 with a newer torch
            super().__init__(dataset, batch_size=None, **options)
        self._bad, self._fingerprint, self._total, self._fixed = bad, fingerprint, total, fixed
        self._place, self._touched = self._start(0), False
        self._unpack, self._oblong = Unpacker(pinned), oblong

    def __len__(self) -> int:
        """Batches of the present epoch on each rank, those before a resume included."""
        place = self._place
        return place.steps + self.dataset.partition.steps(place.position, place.total)

    @property
    def epoch(self) -> int:
        """Number of the present epoch."""
        return self._place.epoch

    @property
    def next_length(self) -> int:
        """Batches on each rank of the epoch that the next iteration goes through, those before a resume included."""
        place = self._next()
        return place.steps + self.dataset.partition.steps(place.position, place.total)

    @property
    def repeats(self) -> list[str]:
        """Sample ids that come twice so that all ranks take as many steps, at most ranks - 1.

        In the present epoch, or when it is done in the next one.
        """
        place, dataset = (self._next() if self._finished else self._place), self.dataset
        places = dataset.partition.repeats(place.position, place.total)
        return dataset.ids(dataset.order(place.epoch, place.chunk), places) if places else []

    def state_dict(self) -> dict[str, Any]:
        """Where to go on after the batches handed out so far."""
        return {"place": asdict(self._place), "seed": self.dataset.shuffle.seed, "fingerprint": self._fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state in the next iteration, with any number of workers and ranks.

        Raises:
            ValueError: it belongs to other data, windows, filters or another seed.
        """
        seed = self.dataset.shuffle.seed
        if state_dict["fingerprint"] != self._fingerprint or state_dict["seed"] != seed:
            raise ValueError(
                "the checkpoint was made with other shards, filters, windows or seed (data.* in its config.yaml), so "
                "its place in the epoch means nothing here; give the same data, or start a new run from them with "
                "init_from="
            )
        self._iterator = None
        self._place, self._touched = EpochPosition(**state_dict["place"]), False

    def __iter__(self) -> Iterator[Batch]:
        # Parcels of an iteration that was left are lost, and with them the clips that workers believe to have sent.
        anew = self._iterator is None or not self._finished
        if anew:
            self._unpack.clear()
        self._place, self._touched = self._next(), False
        self.dataset.begin(self._place, anew)
        return self._batches(super().__iter__())

    @property
    def _finished(self) -> bool:
        return self.dataset.partition.steps(self._place.position, self._place.total) == 0

    def _batches(self, inner: Iterator[BatchMessage]) -> Iterator[Batch]:
        partition = self.dataset.partition
        for message in inner:
            news = [self._bad.add(clip_id, reason) for clip_id, reason in message.bad.items()]
            if any(news):
                self._bad.check(self.dataset.samples_read)
            batch = self._unpack(message)
            batch.bad_samples = dict(self._bad.counts)
            batch.fits = self.dataset.reader.wanted.fits(batch.infos)
            if self._oblong is not None:
                self._oblong(batch.infos)
            # Before the yield: a checkpoint made while the batch is in use goes on after it.
            place = self._place
            self._touched = True
            self._place = EpochPosition(
                place.epoch, partition.advance(place.position, place.total), place.steps + 1, place.chunk, place.total
            )
            yield batch

    def _next(self) -> EpochPosition:
        """Where the next iteration begins: in the epoch of a state that was loaded, else with a new epoch."""
        if self._touched or self._finished:
            return self._start(0 if self._fixed else self._place.epoch + 1)
        return self._place

    def _start(self, epoch: int) -> EpochPosition:
        return EpochPosition(epoch, 0, 0, self.dataset.partition.batch, self._total)
