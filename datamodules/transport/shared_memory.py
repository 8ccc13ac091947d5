"""Shared memory between a worker and the training process that is used again and again.

A fresh piece of shared memory for every batch is taken page by page from the system, filled with zeros, and mapped into
the other process: for frames of video that costs a good part of what decoding them does. So a worker keeps its pieces,
sends each one's handle once, and the training process says in the piece's first byte when it has read it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import torch

HEADER: Final = 64  # bytes before the contents; the first says whether they are still wanted
_SMALLEST: Final = 2**20
_MANY: Final = 8  # pieces; more than are ever on their way at once with usual prefetching


@dataclass
class SharedBlock:
    """A piece of shared memory on its way to the training process.

    Attributes:
        number: of the piece, never used for another one.
        memory: the piece itself, when it is sent for the first time.
        gone: numbers of pieces that the worker has given up.
    """

    number: int
    memory: torch.Tensor | None
    gone: list[int] = field(default_factory=list)


class SharedMemoryPool:
    """The worker's side: owns the pieces."""

    def __init__(self) -> None:
        self._pieces: dict[int, torch.Tensor] = {}
        self._made = 0

    def take(self, size: int) -> tuple[SharedBlock, np.ndarray]:
        """A piece that is not in use, and `size` bytes of it to be written before it is sent."""
        block = self._free(size) or self._new(size)
        memory = self._pieces[block.number].numpy()
        memory[0] = 1
        return block, memory[HEADER : HEADER + size]

    def clear(self) -> None:
        """Give up all pieces: what was sent in them is lost, and nobody will say when it is read."""
        self._pieces.clear()

    def _free(self, size: int) -> SharedBlock | None:
        for number, memory in self._pieces.items():
            if memory[0] == 0 and len(memory) >= HEADER + size:
                return SharedBlock(number, None)
        return None

    def _new(self, size: int) -> SharedBlock:
        gone: list[int] = []
        if len(self._pieces) >= _MANY:  # all that are not in use are too small
            gone = [number for number, memory in self._pieces.items() if memory[0] == 0]
            for number in gone:
                del self._pieces[number]
        # To the next power of two, so that a little more does not need another one; pages not written take no memory.
        whole = max(_SMALLEST, 1 << (HEADER + size - 1).bit_length())
        memory = torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(whole, device="cpu"))
        number = self._made
        self._made += 1
        self._pieces[number] = memory
        return SharedBlock(number, memory, gone)


class SharedMemoryReader:
    """The training process's side: knows the pieces of one worker."""

    def __init__(self) -> None:
        self._pieces: dict[int, np.ndarray] = {}

    def read(self, block: SharedBlock) -> np.ndarray:
        """The bytes of a block; good until `release`."""
        for number in block.gone:
            self._pieces.pop(number, None)
        if block.memory is not None:
            self._pieces[block.number] = block.memory.numpy()
        return self._pieces[block.number][HEADER:]

    def release(self, block: SharedBlock) -> None:
        """Let the worker write there again."""
        self.releasing(block)()

    def releasing(self, block: SharedBlock) -> Callable[[], None]:
        """A call that releases a block, whatever has become of the piece by then."""
        return partial(_release, self._pieces[block.number])


def _release(memory: np.ndarray) -> None:
    memory[0] = 0
