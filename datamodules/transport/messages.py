"""What a batch goes through on its way from what reads it to the training process.

Windows overlap, so the same frames come several times (seven times for windows of 3.2 s every 0.5 s); they are copied
once each, from the decoded clip into the batch's own memory. With workers that is shared memory that is reused
(`shared_memory.py`), which the training process looks at where it lies; what is left to do there is the same for any
batch. What is known of a clip, its clip.json, is sent once.
"""

import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import torch

from datamodules.batch import Batch
from datamodules.clip import ClipInfo
from datamodules.collate import Stack, Window, make_batch, new_tensor, stacked, stacks
from datamodules.transport.shared_memory import SharedBlock, SharedMemoryPool, SharedMemoryReader

_ALIGNMENT: Final = 64
_PIXELS: Final = np.dtype(np.uint8)
_KNOWN: Final = 4096  # clips of each worker whose clip.json the training process keeps


@dataclass
class BatchMessage:
    """One batch, from a worker to the training process.

    Attributes:
        worker: who sends it.
        windows: clip number, first frame and length of each.
        infos: clips of the batch that this worker had not sent yet, or had told to forget.
        forgotten: clips to forget once the batch is made.
        arrays: field of the batch to (B, T, ...); video as (B, T, H, W, 3).
        blocks: shared memory that holds the arrays.
        bad: samples found damaged, with reasons.
        error: why there is no batch.
    """

    worker: int
    windows: list[tuple[int, int, int]] = field(default_factory=list)
    infos: dict[int, ClipInfo] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    arrays: dict[str, Any] = field(default_factory=dict)
    blocks: list[SharedBlock] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    error: str | None = None


class InfoCache:
    """Which clips' clip.json the training process has already, as a worker knows it: those used last."""

    def __init__(self, most: int = _KNOWN):
        self._most = most
        self._clips: OrderedDict[int, None] = OrderedDict()

    def add(self, number: int, info: ClipInfo, message: BatchMessage) -> None:
        """Make sure that the clip is known when the message arrives."""
        if number not in self._clips:
            message.infos[number] = info
            message.forgotten.discard(number)
        self._clips[number] = None
        self._clips.move_to_end(number)
        while len(self._clips) > self._most:
            message.forgotten.add(self._clips.popitem(last=False)[0])

    def clear(self) -> None:
        """Send every clip.json again: the training process has started with an empty cache."""
        self._clips.clear()


class Unpacker:
    """The training process's side: makes batches of what is sent.

    Args:
        pinned: make batches in page-locked memory.
    """

    def __init__(self, pinned: bool = False):
        self._pinned = pinned
        self._infos: dict[int, dict[int, ClipInfo]] = {}
        self._readers: dict[int, SharedMemoryReader] = {}

    def __call__(self, message: BatchMessage) -> Batch:
        """The batch of a message.

        Raises:
            ValueError: its windows do not make a batch.
        """
        infos = self._infos.setdefault(message.worker, {})
        infos |= message.infos
        windows = [Window(infos[number], start, frames) for number, start, frames in message.windows]
        for number in message.forgotten:
            del infos[number]
        reader = self._readers.setdefault(message.worker, SharedMemoryReader())
        memory = [reader.read(block) for block in message.blocks]
        back = [reader.releasing(block) for block in message.blocks]
        if message.error is not None:
            for release in back:
                release()
            raise ValueError(message.error)
        arrays = {name: self._array(value, memory) for name, value in message.arrays.items()}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self._pinned and message.blocks:
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
            for release in back:
                release()
        else:
            # The batch lies in the shared memory itself: it is read when nothing looks at the batch any more.
            for number, release in enumerate(back):
                own = [arrays[name] for name, value in message.arrays.items() if value.block == number]
                _when_gone(own, release)
        return make_batch(windows, tensors)

    def _array(self, value: Any, memory: list[np.ndarray]) -> np.ndarray:
        return value.look(memory[value.block]) if isinstance(value, _Stored) else value

    def clear(self) -> None:
        """Forget everything."""
        self._infos.clear()
        self._readers.clear()


def _when_gone(arrays: Sequence[np.ndarray], then: Callable[[], None]) -> None:
    """Call something when the last of some arrays is gone."""
    left = len(arrays)

    def one_less() -> None:
        nonlocal left
        left -= 1
        if not left:
            then()

    for array in arrays:
        weakref.finalize(array, one_less).atexit = False
    if not arrays:
        then()


@dataclass(frozen=True)
class _Stored:
    """Where an array lies: in which of a message's blocks, where in it, and in what steps."""

    block: int
    offset: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None

    @property
    def end(self) -> int:
        """Where the next array may begin."""
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return self.offset + -(-size // _ALIGNMENT) * _ALIGNMENT

    def look(self, memory: np.ndarray) -> np.ndarray:
        """The array; an object of its own, whose end can be told."""
        return np.ndarray(self.shape, self.dtype, memory.data, self.offset, self.strides)


class Maker(Protocol):
    """Writes the arrays of a message's windows into the memory of the batch."""

    def room(self, shape: tuple[int, ...], windows: int) -> np.ndarray:
        """Memory (T, H, W, 3) uint8 for frames of the next window; `windows` (this one too) are still to come."""

    def add_frames(self, frames: np.ndarray) -> None:
        """Frames that are in the last room."""

    def finish(self, windows: Sequence[Window]) -> None:
        """Write what is left of the batch. Raises ValueError where windows do not go together."""


class Gatherer:
    """Without workers: the batch's own memory.

    Args:
        message: what is made.
        pinned: in page-locked memory.
    """

    def __init__(self, message: BatchMessage, pinned: bool):
        self._message, self._pinned = message, pinned
        self._video: np.ndarray | None = None
        self._frames: list[np.ndarray] = []

    def room(self, shape: tuple[int, ...], windows: int) -> np.ndarray:
        """See `Maker`."""
        if self._video is None:
            self._video = self._new((windows, *shape), _PIXELS)
        number = len(self._frames)
        fits = number < len(self._video) and shape == self._video.shape[1:]
        return self._video[number] if fits else np.empty(shape, np.uint8)

    def add_frames(self, frames: np.ndarray) -> None:
        """See `Maker`."""
        self._frames.append(frames)

    def finish(self, windows: Sequence[Window]) -> None:
        """See `Maker`."""
        arrays = self._message.arrays
        arrays |= {name: array.numpy() for name, array in stacked(windows, self._pinned).items()}
        if self._frames:
            video = Stack.of("video", self._frames, windows)
            whole = self._video is not None and self._video.shape == video.shape
            if not whole or any(frames.base is None for frames in self._frames):
                self._video = self._new(video.shape, _PIXELS)
                video.write(self._video)
            arrays["video"] = self._video

    def _new(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return new_tensor(shape, dtype, self._pinned).numpy()


class Packer:
    """In a worker: shared memory.

    Args:
        message: what is made.
        pool: whose memory is used.
    """

    def __init__(self, message: BatchMessage, pool: SharedMemoryPool):
        self._message, self._pool = message, pool
        self._memory: list[np.ndarray] = []
        self._frames: list[_Stored] = []
        self._room: _Stored | None = None

    def room(self, shape: tuple[int, ...], windows: int) -> np.ndarray:
        """See `Maker`."""
        stored = _Stored(len(self._memory) - 1, self._frames[-1].end if self._frames else 0, shape, _PIXELS.str)
        if not self._memory or stored.end > len(self._memory[-1]):
            stored = _Stored(len(self._memory), 0, shape, _PIXELS.str)
            self._lend(stored.end * windows)
        self._room = stored
        return stored.look(self._memory[-1])

    def add_frames(self, frames: np.ndarray) -> None:
        """See `Maker`."""
        assert self._room is not None
        self._frames.append(self._room)

    def finish(self, windows: Sequence[Window]) -> None:
        """See `Maker`."""
        output = stacks(windows)
        video = self._whole_video()
        if self._frames and video is None:
            looks = [stored.look(self._memory[stored.block]) for stored in self._frames]
            output.append(Stack.of("video", looks, windows))
        stored: list[_Stored] = []
        for one in output:
            begin = stored[-1].end if stored else 0
            stored.append(_Stored(len(self._memory), begin, one.shape, one.dtype.str))
        if stored:
            self._lend(stored[-1].end)
        for one, place in zip(output, stored, strict=True):
            one.write(place.look(self._memory[place.block]))
            self._message.arrays[one.name] = place
        if video is not None:
            self._message.arrays["video"] = video

    def _whole_video(self) -> _Stored | None:
        """Frames of all windows as (B, T, H, W, 3) where they lie, if they are of one shape and lie in one piece."""
        if not self._frames:
            return None
        first = self._frames[0]
        if any(each.shape != first.shape or each.block != first.block for each in self._frames):
            return None
        strides = np.empty(first.shape, first.dtype).strides
        return _Stored(first.block, first.offset, (len(self._frames), *first.shape), first.dtype, (first.end, *strides))

    def _lend(self, size: int) -> None:
        block, memory = self._pool.take(size)
        self._message.blocks.append(block)
        self._memory.append(memory)
