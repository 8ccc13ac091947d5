"""The order of an epoch: a function of (seed, epoch) and the data alone, and how ranks share it.

    shards, shuffled -> the clips of each shard, shuffled -> cut into V virtual streams of equally many windows
    -> the windows of a stream, shuffled among neighbouring clips -> one sequence, a batch from each stream in turn

Since the index tells how many windows every clip has, the order is known before anything is read: the shuffle holds
numbers, not bytes, and any place of the sequence can be jumped to. How many ranks and workers there are changes who
reads a part of the sequence, never the sequence. A batch comes from one stream, so that a reader whose steps fall on
few streams decodes few clips at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from datamodules.order.windows import Cut

CHUNKS_PER_STREAM = 4  # a stream gives at least so many batches, so that small data are mixed well


@dataclass(frozen=True)
class Shuffle:
    """How far an epoch's order is shuffled.

    Attributes:
        seed: of all shuffles.
        streams: most virtual streams; small data use fewer (a power of two), since each needs clips to mix.
        buffer: clips of a stream whose windows are mixed.
        enabled: False keeps the order of the index.
        pairs: deal whole clips that are a pair (`groups_of`) one behind the other.
    """

    seed: int = 0
    streams: int = 64
    buffer: int = 32
    enabled: bool = True
    pairs: bool = False


def groups_of(ids: Sequence[str]) -> np.ndarray:
    """(N,) numbers of the groups that clips are in: neighbours whose ids differ only behind the last "-" are of one."""
    stems = np.array([name.rpartition("-")[0] or name for name in ids])
    return np.cumsum(np.append(False, stems[1:] != stems[:-1])) if len(stems) else np.zeros(0, np.int64)


class EpochOrder:
    """One endless sequence of windows for an epoch: a lap over all windows, then a lap in a new order, and so on.

    Args:
        shards: (N,) shard number of each clip.
        frames: (N,) frames of each clip.
        cut: how windows are cut.
        shuffle: how they are shuffled.
        epoch: number of the epoch.
        chunk: neighbours in the sequence that come from one stream (the batch size).
        groups: (N,) which clips are dealt together (`groups_of`), where `shuffle.pairs` asks for it; whole clips only.
    """

    def __init__(
        self,
        shards: np.ndarray,
        frames: np.ndarray,
        cut: Cut,
        shuffle: Shuffle,
        epoch: int,
        chunk: int,
        groups: np.ndarray | None = None,
    ):
        counts = cut.counts(frames)
        self.windows = int(counts.sum())
        self._make_lap: Callable[[int], _Lap | _PairedLap]
        if groups is not None and shuffle.pairs and shuffle.enabled:
            self._make_lap = partial(_PairedLap, shards, groups, cut, shuffle, chunk, epoch)
        else:
            self._make_lap = partial(_Lap, shards, frames, counts, cut, shuffle, chunk, epoch)
        self._lap: _Lap | _PairedLap | None = None

    def take(self, first: int, last: int) -> list[tuple[int, int]]:
        """(clip number, first frame) of the places `first` to `last` (not included) of the sequence."""
        taken: list[tuple[int, int]] = []
        while first < last:
            lap, place = divmod(first, self.windows)
            if self._lap is None or self._lap.number != lap:
                self._lap = self._make_lap(lap)
            clips, starts = self._lap.run(place, last - first)
            taken += zip(clips.tolist(), starts.tolist(), strict=True)
            first += len(clips)
        return taken


class _Lap:
    """Every window once."""

    def __init__(self, shards, frames, counts, cut, shuffle, chunk, epoch, number):
        self._frames, self._cut, self._shuffle, self._chunk = frames, cut, shuffle, chunk
        self._seed = [shuffle.seed, epoch, number]
        self.number = number
        order = np.arange(len(frames))
        if shuffle.enabled:
            rng = np.random.default_rng([*self._seed, 0])
            place = rng.permutation(int(shards.max()) + 1 if len(shards) else 0)
            order = np.lexsort((rng.random(len(shards)), place[shards]))
        self._order = order[counts[order] > 0]
        self._ends = np.cumsum(counts[self._order])
        self._total = int(self._ends[-1]) if len(self._ends) else 0
        self.streams = self._stream_count()
        self._bounds = [stream * self._total // self.streams for stream in range(self.streams + 1)]
        self._rounds = self._total // self.streams // chunk
        self._cached: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def run(self, place: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips and starts from a place on, as far as they lie together."""
        if not self._shuffle.enabled:
            clips, starts = self._stream(0)
            return clips[place : place + most], starts[place : place + most]
        body = self._rounds * self.streams * self._chunk
        if place >= body:
            clips, starts = self._tail()
            return clips[place - body : place - body + most], starts[place - body : place - body + most]
        turn, inside = divmod(place, self._chunk)
        round_, stream = divmod(turn, self.streams)
        clips, starts = self._stream(stream)
        first = round_ * self._chunk + inside
        last = first + min(most, self._chunk - inside)
        return clips[first:last], starts[first:last]

    def _stream_count(self) -> int:
        if not self._shuffle.enabled:
            return 1
        most = min(
            self._shuffle.streams,
            len(self._order) // max(1, self._shuffle.buffer),
            self._total // (CHUNKS_PER_STREAM * self._chunk),
        )
        return 1 << max(0, most.bit_length() - 1)

    def _stream(self, stream: int) -> tuple[np.ndarray, np.ndarray]:
        if stream not in self._cached:
            windows = np.arange(self._bounds[stream], self._bounds[stream + 1])
            place = np.searchsorted(self._ends, windows, side="right")
            clips = self._order[place]
            numbers = windows - np.where(place > 0, self._ends[place - 1], 0)
            rng = np.random.default_rng([*self._seed, 1, stream])
            starts = self._cut.starts(self._frames[clips], numbers, rng)
            if self._shuffle.enabled:
                mixed = np.argsort(_mix(place - place[:1], self._shuffle.buffer, rng), kind="stable")
                clips, starts = clips[mixed], starts[mixed]
            self._cached[stream] = clips.astype(np.int32), starts.astype(np.int32)
        return self._cached[stream]

    def _tail(self) -> tuple[np.ndarray, np.ndarray]:
        """What the streams hold beyond their whole chunks, shuffled."""
        if -1 not in self._cached:
            used = self._rounds * self._chunk
            rests = [tuple(part[used:] for part in self._stream(stream)) for stream in range(self.streams)]
            clips, starts = (np.concatenate(part) for part in zip(*rests, strict=True))
            mixed = np.random.default_rng([*self._seed, 2]).permutation(len(clips))
            self._cached[-1] = clips[mixed], starts[mixed]
        return self._cached[-1]


class _PairedLap:
    """Every whole clip once, those of a group one behind the other; groups that lack a clip come last.

    A batch that is no multiple of a group parts some; so does what the last ones lack.
    """

    def __init__(self, shards, groups, cut, shuffle, chunk, epoch, number):
        self.number = number
        firsts, sizes = np.unique(groups, return_index=True, return_counts=True)[1:]
        ones = np.ones_like(firsts)
        whole = int(sizes.max()) if len(sizes) else 1
        lap = _Lap(shards[firsts], ones, ones, cut, shuffle, max(1, chunk // whole), epoch, number)
        order = []
        while len(order) < len(firsts):
            order += lap.run(len(order), len(firsts))[0].tolist()
        order.sort(key=lambda group: sizes[group] < whole)
        self._clips = np.concatenate([firsts[group] + np.arange(sizes[group]) for group in order] or [firsts])

    def run(self, place: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips and starts from a place on."""
        clips = self._clips[place : place + most].astype(np.int32)
        return clips, np.zeros_like(clips)


def _mix(place: np.ndarray, buffer: int, rng: np.random.Generator) -> np.ndarray:
    """Sort keys that spread the windows of the clip at a place over its neighbours, so that few are open at a time."""
    clips = int(place[-1]) + 1 if len(place) else 0
    if clips <= buffer:
        return rng.random(len(place))
    reach = max(1, buffer) / 2
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach, clips)
    return low + rng.random(len(place)) * (high - low)


@dataclass(frozen=True)
class Partition:
    """What one rank reads of an epoch.

    Attributes:
        rank, ranks: which of how many.
        batch: windows of a batch.
        drop_last: leave out what does not fill a batch on every rank.
    """

    rank: int
    ranks: int
    batch: int
    drop_last: bool = False

    def steps(self, position: int, total: int) -> int:
        """Batches of every rank from a position of the sequence to the end of the epoch."""
        whole, rest = divmod(max(0, total - position), self.ranks * self.batch)
        return whole + bool(rest and not self.drop_last)

    def advance(self, position: int, total: int, steps: int = 1) -> int:
        """The position after so many steps of all ranks."""
        return min(total, position + steps * self.ranks * self.batch)

    def places(self, position: int, total: int) -> list[int]:
        """This rank's places of the step that begins at a position.

        The last step shares out evenly what is left; up to `ranks` - 1 places come twice then, so that all ranks take
        the same number of steps.
        """
        left = total - position
        if left >= self.ranks * self.batch:
            first = position + self.rank * self.batch
            return list(range(first, first + self.batch))
        partition = -(-left // self.ranks)
        return [position + (self.rank * partition + number) % left for number in range(partition)]

    def repeats(self, position: int, total: int) -> list[int]:
        """Places that come twice in the epoch's last step, seen from a position with as many ranks as now."""
        rest = max(0, total - position) % (self.ranks * self.batch)
        if not rest or self.drop_last:
            return []
        first = total - rest
        return [first + number % rest for number in range(-rest % self.ranks)]
