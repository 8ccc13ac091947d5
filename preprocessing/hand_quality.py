"""How good the pictures of hands are: a score of image quality that needs no reference (CA-11)."""

from typing import Final

import numpy as np

from models.human.keypoints import LEFT_HAND, RIGHT_HAND
from preprocessing.step import Draft

EVERY: Final = 5
"""Every so many frames one is looked at."""
SIDE: Final = 64
"""Pixels that hands are brought to: what has fewer is no sharper for being enlarged."""
_SEEN: Final = 0.3  # score from which on a point counts
_MARGIN: Final = 0.15  # of the hand's size, on each side
_REACH: Final = 9  # pixels that are averaged to blur once more
_LEAST: Final = 4  # pixels of a side: there is nothing to be judged in less


def sharpness(picture: np.ndarray) -> float:
    """1 minus the blur of Crete et al. 2007: what of the differences of neighbours goes when a picture is blurred.

    A sharp picture loses most of them, one that is blurred already hardly any; brightness and contrast do not matter.
    The axis that is blurred more counts, since a hand that moves is blurred along its way.

    Args:
        picture: (H, W, 3) uint8.

    Returns:
        In [0, 1]; 0 of a picture of one colour.
    """
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kept = []
    for axis, kernel in ((0, (1, _REACH)), (1, (_REACH, 1))):
        before = np.abs(np.diff(grey, axis=axis))
        after = np.abs(np.diff(cv2.blur(grey, kernel), axis=axis))
        if total := float(before.sum()):  # else nothing changes along this axis
            kept.append(float(np.maximum(before - after, 0).sum()) / total)
    return min(kept, default=0.0)


def hand_figures(draft: Draft) -> dict[str, float]:
    """The clip's `hand_quality`: median sharpness of the hands that are seen; no figure where none is.

    Args:
        draft: with `pose.npz` and its video, every fifth frame of which is looked at.
    """
    import cv2

    pose = draft.arrays["pose.npz"]
    found = []
    for number, frame in enumerate(draft.frames()):
        if number % EVERY:
            continue
        size = np.array([frame.shape[1], frame.shape[0]])
        for hand in (LEFT_HAND, RIGHT_HAND):
            points, scores = pose["keypoints"][number, hand], pose["scores"][number, hand]
            if scores.mean() < _SEEN:
                continue
            seen = points[scores >= _SEEN]
            low, high = seen.min(0), seen.max(0)
            grown = _MARGIN * (high - low)
            left, top = np.clip(np.floor((low - grown) * size), 0, size).astype(int)
            right, bottom = np.clip(np.ceil((high + grown) * size), 0, size).astype(int)
            if min(right - left, bottom - top) < _LEAST:
                continue
            crop = np.ascontiguousarray(frame[top:bottom, left:right])
            found.append(sharpness(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)))
    return {"hand_quality": float(np.median(found))} if found else {}
