"""Statistics for normalisation, over the training split, made once and stored with the index."""

from typing import Any, Final

import numpy as np

FLOOR: Final = 1e-4  # a standard deviation is never smaller, so that dividing by it is safe
COLLECTED: Final = ("pose", "motion", "speech", "body")  # moments of the accumulator


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
    """Collects what networks need to normalise their inputs.

    `pose`: mean and std of each coordinate in fractions of the frame, over scored points. `pose_motion`: std of each
    coordinate about its own clip's mean: how far a point moves. `handcrafted`: mean and std of the 35 speech features.
    `body_motion`, where there is any: mean of the 263 numbers of a motion vector, and their std averaged within each
    part, as HumanML3D does, so that the numbers of a part keep their sizes to each other (VA-1).
    """

    def __init__(self) -> None:
        self.pose = Moments((134, 2))
        self.motion = Moments((134, 2))
        self.speech = Moments((35,))
        self.body = Moments((263,))
        self.clips = 0
        self.frames = 0

    def add(self, arrays: dict[str, Any]) -> None:
        """Add one clip: a dict of decoded keys as `datamodules.clip.decode` gives them; absent keys are left out."""
        self.clips += 1
        if "pose.npz" in arrays:
            keypoints = arrays["pose.npz"]["keypoints"]
            seen = (arrays["pose.npz"]["scores"] > 0)[..., None]
            self.frames += len(keypoints)
            self.pose.add(keypoints, seen)
            mean = (keypoints * seen).sum(0) / np.maximum(seen.sum(0), 1)
            self.motion.add(keypoints - mean, seen)
        if "handcrafted" in arrays.get("speech.npz", {}):
            self.speech.add(arrays["speech.npz"]["handcrafted"])
        if "motion.npz" in arrays:
            self.body.add(arrays["motion.npz"]["motion"])
            self.frames += 0 if "pose.npz" in arrays else len(arrays["motion.npz"]["motion"])

    def merge(self, state: dict[str, Any]) -> None:
        """Add the clips of another accumulator, given as its `state`; the same order gives the same bits."""
        self.clips += state["clips"]
        self.frames += state["frames"]
        for name in COLLECTED:
            if name in state:  # a record of an earlier version knows no body motion
                getattr(self, name).merge(state[name])

    def state(self) -> dict[str, Any]:
        """Plain numbers for a JSON file, from which `merge` goes on without loss."""
        known = [name for name in COLLECTED if name != "body" or self.body.count.any()]
        moments = {name: getattr(self, name).state() for name in known}
        return {"clips": self.clips, "frames": self.frames, **moments}

    def result(self) -> dict[str, Any]:
        """Plain numbers for `index.json`, rounded to 8 digits."""
        return {
            "clips": self.clips,
            "frames": self.frames,
            "pose": {"mean": _plain(self.pose.mean), "std": _plain(self.pose.std())},
            "pose_motion": {"std": _plain(self.motion.std())},
            "handcrafted": {"mean": _plain(self.speech.mean), "std": _plain(self.speech.std())},
            **({"body_motion": self._body_motion()} if self.body.count.any() else {}),
        }

    def _body_motion(self) -> dict[str, list[float]]:
        from models.human import motion  # brings torch, which the other statistics need not wait for

        std = self.body.std()
        for part in motion.PARTS.values():
            std[part] = std[part].mean()
        return {"mean": _plain(self.body.mean), "std": _plain(std)}


def _plain(array: np.ndarray) -> list[Any]:
    return np.round(array, 8).tolist()
