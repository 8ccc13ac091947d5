"""Smooth curves in time: minimum-jerk keys, geodesics between rotations, slow unrest."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation


def minimum_jerk(share: np.ndarray) -> np.ndarray:
    """From 0 to 1 as people reach: 10 s^3 - 15 s^4 + 6 s^5 (Flash and Hogan 1985); held outside [0, 1]."""
    s = np.clip(share, 0, 1)
    return s**3 * (10 - 15 * s + 6 * s**2)


def keyed(times: np.ndarray, keys: Sequence[tuple[float, float]], rest: float = 0.0) -> np.ndarray:
    """Minimum-jerk from key to key, still at each: (T,) at `times` of (seconds, value) in order; `rest` before them."""
    if not keys:
        return np.full(len(times), rest)
    result = np.full(len(times), keys[0][1], dtype=np.float64)
    for (start, low), (end, high) in pairwise(keys):
        result += (high - low) * minimum_jerk((times - start) / max(end - start, 1e-6))
    return result


def unrest(generator: np.random.Generator, times: np.ndarray, slow: float, count: int) -> np.ndarray:
    """Smooth random movement of about unit size with periods near `slow` seconds: (T, count)."""
    periods = slow * generator.uniform(0.6, 1.7, (count, 3))
    phases = generator.uniform(0, 2 * np.pi, (count, 3))
    return 0.6 * np.sin(2 * np.pi * times[:, None, None] / periods + phases).sum(-1)


def geodesic(start: Rotation, end: Rotation, share: np.ndarray) -> Rotation:
    """The rotation that is `share` (T,) of the shortest way from one to another; beyond 0 and 1 it goes on."""
    return start * Rotation.from_rotvec(np.asarray(share)[:, None] * (start.inv() * end).as_rotvec())


def smoothed(rotations: Rotation, sigma: float) -> Rotation:
    """A Gaussian over (T,) rotations in time; sigma in frames. Neighbours must be less than half a turn apart."""
    quaternions = rotations.as_quat()
    flips = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0))
    quaternions[1:] *= flips[:, None]
    return Rotation.from_quat(gaussian_filter1d(quaternions, sigma, axis=0, mode="nearest"))
