"""What workers send: each clip once, and which windows of which clips make a batch.

Windows overlap: cut in the worker, the same frames would cross to the training process several times (seven for
windows of 3.2 s every 0.5 s), and that costs more than decoding them. So a worker sends a clip when its first window
comes, says when to forget it, and the training process cuts. Frames of a video are another matter: they are decoded for
each window, and sent with it. Both travel in shared memory that is used again (`buffers.py`).
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from datamodules.batch import Batch
from datamodules.buffers import Borrower, Lender, Loan
from datamodules.collate import collate, cut_window
from datamodules.samples import Clip

_ALIGNMENT: Final = 64


@dataclass
class Parcel:
    """One batch on its way.

    Attributes:
        worker: who sends it.
        windows: (clip number, first frame) of each.
        clips: those of the batch that this worker had not sent yet, or had told to forget.
        forgotten: clips to forget once the batch is made.
        frames: (T, H, W, 3) of each window, where frames are wanted.
        loan: shared memory that holds the arrays of `clips` and `frames`.
        bad: samples found damaged, with reasons.
    """

    worker: int
    windows: list[tuple[int, int]] = field(default_factory=list)
    clips: dict[int, Clip] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    frames: list[Any] = field(default_factory=list)
    loan: Loan | None = None
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
        new, frames = parcel.clips, parcel.frames
        if parcel.loan is not None:
            borrower = self._borrowers.setdefault(parcel.worker, Borrower())
            new, frames = _contents(parcel, borrower.read(parcel.loan))
        clips |= new
        windows = [cut_window(clips[number], start, self._length) for number, start in parcel.windows]
        for number in parcel.forgotten:
            del clips[number]
        batch = collate(windows, frames, self._pinned)
        if parcel.loan is not None:
            borrower.give_back(parcel.loan)
        return batch

    def clear(self) -> None:
        """Forget everything."""
        self._clips.clear()
        self._borrowers.clear()


@dataclass(frozen=True)
class _Stored:
    """Where an array lies in a parcel's shared memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


def to_shared(parcel: Parcel, lender: Lender) -> Parcel:
    """The parcel with its arrays in one piece of shared memory, for the way between processes."""
    arrays: list[tuple[_Stored, np.ndarray]] = []
    end = 0

    def store(array: np.ndarray) -> _Stored:
        nonlocal end
        stored = _Stored(end, array.shape, array.dtype.str)
        arrays.append((stored, array))
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        return stored

    parcel.clips = {n: Clip(clip.info, _convert(clip.values, np.ndarray, store)) for n, clip in parcel.clips.items()}
    parcel.frames = [store(frames) for frames in parcel.frames]
    if arrays:
        parcel.loan, target = lender.lend(end)
        for stored, array in arrays:
            _at(target, stored)[...] = array
    return parcel


def _contents(parcel: Parcel, buffer: np.ndarray) -> tuple[dict[int, Clip], list[np.ndarray]]:
    """Clips and frames of a parcel. Clips are copied: they stay, while the shared memory is wanted for the next."""
    clips = {
        number: Clip(clip.info, _convert(clip.values, _Stored, lambda stored: _at(buffer, stored).copy()))
        for number, clip in parcel.clips.items()
    }
    return clips, [_at(buffer, stored) for stored in parcel.frames]


def _at(buffer: np.ndarray, stored: _Stored) -> np.ndarray:
    dtype = np.dtype(stored.dtype)
    size = math.prod(stored.shape) * dtype.itemsize
    return buffer[stored.offset : stored.offset + size].view(dtype).reshape(stored.shape)


def _convert(value: Any, kind: type, change: Any) -> Any:
    if isinstance(value, dict):
        return {name: _convert(item, kind, change) for name, item in value.items()}
    return change(value) if isinstance(value, kind) else value
