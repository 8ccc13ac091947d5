"""What workers send: each clip once, and which windows of which clips make a batch.

Windows overlap: cut in the worker, the same frames would cross to the training process several times (seven for
windows of 3.2 s every 0.5 s), and that costs more than decoding them. So a worker sends a clip when its first window
comes, says when to forget it, and the training process cuts. Frames of a video are another matter: they are decoded for
each window, and sent with it. Both travel in shared memory that is used again (`buffers.py`).
"""

import math
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from datamodules.batch import Batch
from datamodules.buffers import Borrower, Lender, Loan
from datamodules.collate import collate, cut_window
from datamodules.samples import Clip

_ALIGNMENT: Final = 64
_PIXELS: Final = np.dtype(np.uint8).str


@dataclass
class Parcel:
    """One batch on its way.

    Attributes:
        worker: who sends it.
        windows: (clip number, first frame) of each.
        clips: those of the batch that this worker had not sent yet, or had told to forget.
        forgotten: clips to forget once the batch is made.
        frames: (T, H, W, 3) of each window, where frames are wanted.
        loans: shared memory that holds the arrays of `clips` and `frames`.
        bad: samples found damaged, with reasons.
    """

    worker: int
    windows: list[tuple[int, int]] = field(default_factory=list)
    clips: dict[int, Clip] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    frames: list[Any] = field(default_factory=list)
    loans: list[Loan] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)


class Sent:
    """A worker's book of the clips that the training process holds: the last used, up to a number of bytes."""

    def __init__(self, memory: int):
        self._memory, self._held = memory, 0
        self._clips: OrderedDict[int, int] = OrderedDict()

    def __contains__(self, number: int) -> bool:
        if number not in self._clips:
            return False
        self._clips.move_to_end(number)
        return True

    def add(self, number: int, clip: Clip, parcel: Parcel) -> None:
        """Put a clip into a parcel, and make room for it."""
        light = Clip(clip.info, {key: value for key, value in clip.values.items() if key != "video.mp4"})
        parcel.clips[number] = light
        parcel.forgotten.discard(number)
        self._clips[number] = light.bytes
        self._held += light.bytes
        while self._held > self._memory and len(self._clips) > 1:
            old, size = self._clips.popitem(last=False)
            self._held -= size
            parcel.forgotten.add(old)

    def clear(self) -> None:
        """Begin anew: the other side has forgotten everything."""
        self._clips.clear()
        self._held = 0


class Unpacker:
    """The training process's side: keeps what each worker sent, and makes batches.

    Args:
        length: frames of a window; whole clips where None.
        pinned: make batches in page-locked memory.
    """

    def __init__(self, length: int | None, pinned: bool = False):
        self._length, self._pinned = length, pinned
        self._clips: dict[int, dict[int, Clip]] = {}
        self._borrowers: dict[int, Borrower] = {}

    def __call__(self, parcel: Parcel) -> Batch:
        """The batch of a parcel."""
        clips = self._clips.setdefault(parcel.worker, {})
        borrower = self._borrowers.setdefault(parcel.worker, Borrower())
        memory = [borrower.read(loan) for loan in parcel.loans]
        clips |= _clips(parcel, memory)
        windows = [cut_window(clips[number], start, self._length) for number, start in parcel.windows]
        for number in parcel.forgotten:
            del clips[number]
        video = None if self._pinned else _video(parcel.frames, memory)
        frames = [_at(memory, frames) if isinstance(frames, _Stored) else frames for frames in parcel.frames]
        batch = collate(windows, frames if video is None else video, self._pinned)
        for number, loan in enumerate(parcel.loans):
            if video is not None and number == parcel.frames[0].loan:  # there are no loans without workers
                # The batch lies in the shared memory itself: it is read when nothing looks at the batch any more.
                weakref.finalize(video, borrower.returning(loan)).atexit = False
            else:
                borrower.give_back(loan)
        return batch

    def clear(self) -> None:
        """Forget everything."""
        self._clips.clear()
        self._borrowers.clear()


@dataclass(frozen=True)
class _Stored:
    """Where an array lies: in which of a parcel's loans, and where in it."""

    loan: int
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def end(self) -> int:
        """Where the next array may begin."""
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return self.offset + -(-size // _ALIGNMENT) * _ALIGNMENT


class Gatherer:
    """Without workers: lets the frames of a parcel's windows be decoded into the batch's own memory.

    Args:
        parcel: what to gather.
    """

    def __init__(self, parcel: Parcel):
        self._parcel = parcel
        self._batch: np.ndarray | None = None

    def room(self, shape: tuple[int, ...], windows: int) -> np.ndarray:
        """Memory (T, H, W, 3) uint8 for the next window; `windows` (this one too) are still to come."""
        if self._batch is None:
            self._batch = np.empty((windows, *shape), np.uint8)
        number = len(self._parcel.frames)
        fits = number < len(self._batch) and shape == self._batch.shape[1:]
        return self._batch[number] if fits else np.empty(shape, np.uint8)

    def add_frames(self, frames: np.ndarray) -> None:
        """Frames that are in the last room."""
        self._parcel.frames.append(frames)

    def finish(self) -> Parcel:
        """The parcel."""
        return self._parcel


class Packer:
    """Puts the arrays of one parcel into shared memory, for the way between processes.

    Args:
        parcel: what to pack.
        lender: whose memory is used.
    """

    def __init__(self, parcel: Parcel, lender: Lender):
        self._parcel, self._lender = parcel, lender
        self._memory: list[np.ndarray] = []
        self._end = 0
        self._room: _Stored | None = None

    def room(self, shape: tuple[int, ...], windows: int) -> np.ndarray:
        """Shared memory (T, H, W, 3) uint8 for the next window; `windows` (this one too) are still to come."""
        stored = _Stored(len(self._memory) - 1, self._end, shape, _PIXELS)
        if not self._memory or stored.end > len(self._memory[-1]):
            stored = _Stored(len(self._memory), 0, shape, _PIXELS)
            self._lend(stored.end * windows)
        self._room = stored
        return _at(self._memory, stored)

    def add_frames(self, frames: np.ndarray) -> None:
        """Frames that are in the last room."""
        assert self._room is not None
        self._parcel.frames.append(self._room)
        self._end = self._room.end

    def finish(self) -> Parcel:
        """The parcel with the arrays of its clips moved too."""
        arrays: list[tuple[_Stored, np.ndarray]] = []
        end = 0

        def store(array: np.ndarray) -> _Stored:
            nonlocal end
            stored = _Stored(len(self._memory), end, array.shape, array.dtype.str)
            arrays.append((stored, array))
            end = stored.end
            return stored

        clips = self._parcel.clips.items()
        self._parcel.clips = {n: Clip(clip.info, _convert(clip.values, np.ndarray, store)) for n, clip in clips}
        if arrays:
            self._lend(end)
        for stored, array in arrays:
            _at(self._memory, stored)[...] = array
        return self._parcel

    def _lend(self, size: int) -> None:
        loan, memory = self._lender.lend(size)
        self._parcel.loans.append(loan)
        self._memory.append(memory)


def _clips(parcel: Parcel, memory: list[np.ndarray]) -> dict[int, Clip]:
    """The clips of a parcel, copied: they stay, while the shared memory is wanted for the next ones."""
    return {
        number: Clip(clip.info, _convert(clip.values, _Stored, lambda stored: _at(memory, stored).copy()))
        for number, clip in parcel.clips.items()
    }


def _video(frames: list[Any], memory: list[np.ndarray]) -> np.ndarray | None:
    """Frames of all windows as (B, T, H, W, 3) where they lie, if they are of one shape and lie in one piece."""
    if not frames or any(each.shape != frames[0].shape for each in frames):
        return None
    first = frames[0]
    if isinstance(first, np.ndarray):
        batch = first.base
        whole = batch is not None and batch.shape == (len(frames), *first.shape)
        return batch if whole and all(each.base is batch for each in frames) else None
    if any(stored.loan != first.loan for stored in frames):
        return None
    inner = np.empty(first.shape, first.dtype).strides
    shape, strides = (len(frames), *first.shape), (first.end, *inner)
    return np.ndarray(shape, first.dtype, memory[first.loan].data, first.offset, strides)


def _at(memory: list[np.ndarray], stored: _Stored) -> np.ndarray:
    dtype = np.dtype(stored.dtype)
    size = math.prod(stored.shape) * dtype.itemsize
    return memory[stored.loan][stored.offset : stored.offset + size].view(dtype).reshape(stored.shape)


def _convert(value: Any, kind: type, change: Any) -> Any:
    if isinstance(value, dict):
        return {name: _convert(item, kind, change) for name, item in value.items()}
    return change(value) if isinstance(value, kind) else value
