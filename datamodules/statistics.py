"""Statistics for normalisation, over the training split, made once and stored with the index."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from datamodules.keys import KEYS

FLOOR: Final = 1e-4  # a standard deviation is never smaller, so that dividing by it is safe
_BEFORE: Final = {"pose_motion": "motion", "handcrafted": "speech", "body_motion": "body"}
"""What records of unfinished runs of earlier versions call them."""


class Moments:
    """Running mean and standard deviation of rows, in float64 by Chan's update, so that the order hardly matters."""

    def __init__(self, shape: tuple[int, ...]):
        self.count = np.zeros(shape)
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)

    def add(self, rows: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add (n, *shape) rows; weights (n, *shape) of 0 or 1 leave numbers out."""
        rows = rows.astype(np.float64)
        weights = np.ones_like(rows) if weights is None else np.broadcast_to(weights, rows.shape).astype(np.float64)
        count = weights.sum(0)
        mean = (rows * weights).sum(0) / np.maximum(count, 1)
        self._join(count, mean, ((rows - mean) ** 2 * weights).sum(0))

    def merge(self, state: dict[str, Any]) -> None:
        """Add what another one has seen, given as its `state`."""
        self._join(*(np.asarray(state[name], np.float64) for name in ("count", "mean", "squares")))

    def state(self) -> dict[str, Any]:
        """Plain numbers from which `merge` goes on without loss."""
        return {name: getattr(self, name).tolist() for name in ("count", "mean", "squares")}

    def _join(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        total = self.count + count
        delta = mean - self.mean
        share = count / np.maximum(total, 1)
        self.mean = self.mean + delta * share
        self.squares = self.squares + squares + delta**2 * self.count * share
        self.count = total

    def std(self) -> np.ndarray:
        """Standard deviation, at least `FLOOR`; 1 where there was no data."""
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        return np.where(self.count > 0, np.maximum(deviation, FLOOR), 1.0)


class StatisticsAccumulator:
    """Collects what networks need to normalise their inputs: the statistics of the table of keys.

    Args:
        keys: whose statistics.
    """

    def __init__(self, keys: Iterable[str] = KEYS) -> None:
        self._keys = [KEYS[name] for name in counted(keys)]
        self._moments = {each.name: Moments(each.shape) for key in self._keys for each in key.statistics}
        self.clips = 0
        self.frames = 0

    def add(self, arrays: Mapping[str, Any]) -> None:
        """Add one clip: a dict of decoded keys as `datamodules.clip.decode` gives them; absent keys are left out."""
        self.clips += 1
        frames = None
        for key in self._keys:
            values = arrays.get(key.name, {})
            for each in key.statistics:
                if each.array not in values:
                    continue
                rows = values[each.array]
                frames = len(rows) if frames is None else frames
                weights = None if each.weights is None else _like(values[each.weights] > 0, rows)
                if each.about_clip:
                    rows = rows - _mean(rows, weights)
                self._moments[each.name].add(rows, weights)
        self.frames += frames or 0

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the clips of another accumulator, given as its `state`; the same order gives the same bits."""
        self.clips += state["clips"]
        self.frames += state["frames"]
        for name, moments in self._moments.items():
            if (known := state.get(name, state.get(_BEFORE.get(name, name)))) is not None:
                moments.merge(known)

    def state(self) -> dict[str, Any]:
        """Plain numbers for a JSON file, from which `merge` goes on without loss."""
        moments = {name: moments.state() for name, moments in self._moments.items() if moments.count.any()}
        return {"clips": self.clips, "frames": self.frames, **moments}

    def result(self) -> dict[str, Any]:
        """Plain numbers for `index.json`, rounded to 8 digits: "clips", "frames", and each statistic by its name."""
        return {"clips": self.clips, "frames": self.frames, **self.of_keys(8)}

    def of_keys(self, digits: int | None = None) -> dict[str, Any]:
        """Each statistic by its name, "mean" and "std"; where nothing was counted, those that are always there."""
        found = {}
        for key in self._keys:
            for each in key.statistics:
                moments = self._moments[each.name]
                if each.always or moments.count.any():
                    mean = {} if each.about_clip else {"mean": _plain(moments.mean, digits)}
                    found[each.name] = mean | {"std": _plain(moments.std(), digits)}
        return found


def counted(keys: Iterable[str]) -> list[str]:
    """Those of some keys that statistics are kept of, in the order of the table."""
    keys = set(keys)
    return [name for name, key in KEYS.items() if name in keys and key.statistics]


def _like(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return weights.reshape(*weights.shape, *(1,) * (rows.ndim - weights.ndim))


def _mean(rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    if weights is None:
        return rows.mean(0)
    return (rows * weights).sum(0) / np.maximum(weights.sum(0), 1)


def _plain(array: np.ndarray, digits: int | None) -> list[Any]:
    return array.tolist() if digits is None else np.round(array, digits).tolist()
