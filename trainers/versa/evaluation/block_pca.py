"""Motion in as few bits as tokens take, by principal components: what a tokenizer has to beat."""

from collections.abc import Sequence
from typing import Final

import numpy as np

ROUNDS: Final = 30  # of Lloyd's algorithm; it has settled by then
MOST: Final = 20_000  # blocks that it is fitted to


class BlockPCA:
    """Blocks of frames as a few principal components, each rounded to levels of its own.

    A component with b bits has the 2^b levels of Lloyd and Max, which are best for its values in the data. The bits are
    shared out over the components so that the squared error of the data is least, by dynamic programming over all ways
    to do it: no other choice of components and bits does better with scalar levels.

    Args:
        motions: (M, C) each, in units in which every number counts alike.
        bits: of a block in all.
        frames: of a block; the last frame of a motion is repeated to fill its last one.
    """

    def __init__(self, motions: Sequence[np.ndarray], bits: int, frames: int):
        self.bits, self.frames = bits, frames
        blocks = np.concatenate([self._blocks(motion) for motion in motions]).astype(np.float64)
        blocks = blocks[np.linspace(0, len(blocks) - 1, min(MOST, len(blocks))).round().astype(int)]
        self.mean = blocks.mean(0)
        # No more components than bits can be told of.
        _, vectors = np.linalg.eigh(np.cov(blocks, rowvar=False, bias=True).reshape(blocks.shape[1], -1))
        vectors = vectors[:, ::-1][:, :bits]
        values = (blocks - self.mean) @ vectors
        tables = [[lloyd_max(column, 2**b) for b in range(bits + 1)] for column in values.T]
        errors = np.array(
            [
                [np.square(column - _round(column, levels)).mean() for levels in table]
                for column, table in zip(values.T, tables, strict=True)
            ]
        )
        self.allocation = share_out(errors, bits)
        self.vectors = vectors
        self.levels = [table[b] for table, b in zip(tables, self.allocation, strict=True)]

    def reconstruct(self, motion: np.ndarray) -> np.ndarray:
        """Motion (M, C) in so many bits and back."""
        values = (self._blocks(motion) - self.mean) @ self.vectors
        rounded = np.stack([_round(column, levels) for column, levels in zip(values.T, self.levels, strict=True)], 1)
        blocks = rounded @ self.vectors.T + self.mean
        return blocks.reshape(-1, motion.shape[1])[: len(motion)].astype(motion.dtype)

    def _blocks(self, motion: np.ndarray) -> np.ndarray:
        """(M, C) as (ceil(M / frames), frames C)."""
        missing = -len(motion) % self.frames
        return np.concatenate([motion, np.repeat(motion[-1:], missing, 0)]).reshape(-1, self.frames * motion.shape[1])


def lloyd_max(values: np.ndarray, count: int) -> np.ndarray:
    """The levels (at most `count`, rising) with the least squared error for values (N,), by Lloyd's algorithm."""
    ordered = np.sort(values)
    levels = np.unique(np.quantile(ordered, (np.arange(count) + 0.5) / count))
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(ROUNDS):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        first, last = np.concatenate([[0], edges]), np.concatenate([edges, [len(ordered)]])
        held = last > first
        levels = (total[last] - total[first])[held] / (last - first)[held]
    return levels


def share_out(errors: np.ndarray, bits: int) -> list[int]:
    """Bits of each component (n,) with the least sum of errors (n, bits + 1), `bits` of them in all."""
    best, choices = errors[0].copy(), []  # least error of the components so far with 0, 1, ... bits
    for row in errors[1:]:
        # Entry (b, c): b bits in all, c of them for this component.
        sums = np.full((bits + 1, bits + 1), np.inf)
        for b in range(bits + 1):
            sums[b, : b + 1] = best[b::-1] + row[: b + 1]
        choices.append(sums.argmin(1))
        best = sums.min(1)
    left, found = bits, []
    for choice in reversed(choices):
        found.append(int(choice[left]))
        left -= found[-1]
    return [left, *reversed(found)]


def _round(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Values (N,) at the nearest of rising levels."""
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]
