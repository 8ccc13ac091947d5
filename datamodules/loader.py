"""Batches in an order that can be taken up anywhere: the dataset that workers run, the loader that keeps the place."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from datamodules.bad_samples import BadSamples, TooManyBadSamples
from datamodules.batch import Batch
from datamodules.clip import BadSample
from datamodules.collate import Wanted, Window, collate, cut_window
from datamodules.samples import ClipReader
from datamodules.streams import EpochOrder, Share, Shuffle
from datamodules.windows import Cut

Found = dict[str, str]  # clip id to reason


@dataclass
class Place:
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
    """

    def __init__(self, reader: ClipReader, cut: Cut, shuffle: Shuffle, share: Share, wanted: Wanted):
        self.reader, self.cut, self.shuffle, self.share, self.wanted = reader, cut, shuffle, share, wanted
        table = reader.table
        self.windows = int(cut.counts(table.frames).sum())
        # Workers outlive an epoch: through shared memory they learn where to begin and tell which clips they have read.
        self._begin = torch.zeros(4, dtype=torch.int64).share_memory_()
        self._read = torch.zeros(len(table), dtype=torch.uint8).share_memory_()
        self._bad: dict[int, str] = {}

    def begin(self, place: Place) -> None:
        """Where the next iteration starts, in all workers."""
        self._begin.copy_(torch.tensor([place.epoch, place.position, place.chunk, place.total]))

    @property
    def samples_read(self) -> int:
        """Different clips that were read so far, damaged or not."""
        return int(self._read.sum())

    def order(self, epoch: int, chunk: int) -> EpochOrder:
        """The sequence of an epoch."""
        table = self.reader.table
        return EpochOrder(table.shard, table.frames, self.cut, self.shuffle, epoch, chunk)

    def ids(self, order: EpochOrder, places: list[int]) -> list[str]:
        """Sample ids at places of a sequence."""
        windows = (order.take(place, place + 1)[0] for place in places)
        return [f"{self.reader.table.ids[number]}@{start}" for number, start in windows]

    def __iter__(self) -> Iterator[tuple[Batch, Found]]:
        epoch, position, chunk, total = self._begin.tolist()
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        order = self.order(epoch, chunk)
        for step in range(first, self.share.steps(position, total), stride):
            yield self._batch(order, self.share.places(self.share.advance(position, total, step), total))

    def _batch(self, order: EpochOrder, places: list[int]) -> tuple[Batch, Found]:
        found: Found = {}
        whole = places[-1] - places[0] == len(places) - 1
        runs = [(places[0], places[-1] + 1)] if whole else [(place, place + 1) for place in places]
        taken = [window for run in runs for window in order.take(*run)]
        windows = []
        for place, (number, start) in zip(places, taken, strict=True):
            window = self._window(number, start, found)
            if window is None:
                window = self._substitute(order, place, found)
            windows.append(window)
        return collate(windows), found

    def _substitute(self, order: EpochOrder, place: int, found: Found) -> Window:
        for other in range(place + 1, place + 1 + order.windows):
            window = self._window(*order.take(other, other + 1)[0], found)
            if window is not None:
                return window
        bad = BadSamples(0, 0)
        bad.reasons = {self.reader.table.ids[number]: reason for number, reason in self._bad.items()} | found
        raise TooManyBadSamples("no sample can be read: " + bad.describe(self.samples_read))

    def _window(self, number: int, start: int, found: Found) -> Window | None:
        if number in self._bad:
            return None
        clip_id = self.reader.table.ids[number]
        self._read[number] = 1
        try:
            clip = self.reader(number)
        except BadSample as error:
            self._bad[number] = found[clip_id] = error.reason
            return None
        try:
            return cut_window(clip, start, self.cut.length if self.cut.mode != "clip" else None, self.wanted)
        except BadSample as error:
            # Only these frames are damaged: other windows of the clip stay in use, whichever worker reads them.
            found[clip_id] = error.reason
            return None


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
        options: of StatefulDataLoader.
    """

    def __init__(
        self, dataset: WindowDataset, bad: BadSamples, fingerprint: str, total: int, fixed: bool = False, **options: Any
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # torchdata 0.11 with a newer torch
            super().__init__(dataset, batch_size=None, **options)
        self._bad, self._fingerprint, self._total, self._fixed = bad, fingerprint, total, fixed
        self._place = self._start(0)
        self._touched = False

    def __len__(self) -> int:
        """Batches of the present epoch on each rank, those before a resume included."""
        place = self._place
        return place.steps + self.dataset.share.steps(place.position, place.total)

    @property
    def epoch(self) -> int:
        """Number of the present epoch."""
        return self._place.epoch

    @property
    def repeats(self) -> list[str]:
        """Sample ids that come twice in the present epoch so that all ranks take as many steps: at most ranks - 1."""
        place, dataset = self._place, self.dataset
        places = dataset.share.repeats(place.position, place.total)
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
        self._place, self._touched = Place(**state_dict["place"]), False

    def __iter__(self) -> Iterator[Batch]:
        if self._touched or self._finished:
            self._place = self._start(0 if self._fixed else self._place.epoch + 1)
        self._touched = False
        self.dataset.begin(self._place)
        return self._batches(super().__iter__())

    @property
    def _finished(self) -> bool:
        return self.dataset.share.steps(self._place.position, self._place.total) == 0

    def _batches(self, inner: Iterator[tuple[Batch, Found]]) -> Iterator[Batch]:
        share = self.dataset.share
        for batch, found in inner:
            news = [self._bad.add(clip_id, reason) for clip_id, reason in found.items()]
            if any(news):
                self._bad.check(self.dataset.samples_read)
            batch.bad_samples = dict(self._bad.counts)
            # Before the yield: a checkpoint made while the batch is in use goes on after it.
            place = self._place
            self._touched = True
            self._place = Place(
                place.epoch, share.advance(place.position, place.total), place.steps + 1, place.chunk, place.total
            )
            yield batch

    def _start(self, epoch: int) -> Place:
        return Place(epoch, 0, 0, self.dataset.share.batch, self._total)
