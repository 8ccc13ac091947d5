"""What belongs to another clip in the place of one's own: what a network does that does not listen."""

from collections.abc import Sequence

import numpy as np


def exchanged(features: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """For each clip the features (T, ...) of another one, repeated or cut to its length; no clip keeps its own.

    With a single clip its own, turned by half its length.
    """
    if len(features) == 1:
        return [np.roll(features[0], len(features[0]) // 2, 0)]
    order = np.random.default_rng(seed).permutation(len(features))
    partner = dict(zip(order, np.roll(order, 1), strict=True))
    return [fitted(features[partner[number]], len(own)) for number, own in enumerate(features)]


def fitted(values: np.ndarray, frames: int) -> np.ndarray:
    """An array brought to a number of frames: repeated from its start, or cut."""
    return np.resize(values, (frames, *values.shape[1:])) if len(values) < frames else values[:frames]
