"""Motion masks from key points: the paper's Algorithm 1 (MMGT-13)."""

from typing import Final

import numpy as np

from models.human.keypoints import FACE, LEFT_HAND, LIPS, POINTS, RIGHT_HAND

FULL: Final = 255
NAMES: Final = ("face_hands", "lips", "background")


def region_mask(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Box around one region's key points in every frame, Algorithm 1 of the paper (MMGT-13).

    Per frame the box spans the points whose pixel x and y, cut to whole numbers, are above 0. It is filled with 255
    from the least to (not including) the greatest where the least is smaller in both axes; else the mask stays zero.

    Args:
        points: (T, K, 2) or (T, K, 3): x and y as fractions of the frame.
        height: rows.
        width: columns.

    Returns:
        (T, height, width) uint8, 0 or 255.
    """
    masks = np.zeros((len(points), height, width), np.uint8)
    fractions = np.nan_to_num(np.asarray(points)[..., :2].astype(np.float64), nan=-1.0, posinf=-1.0, neginf=-1.0)
    pixels = np.trunc(fractions * (width, height))
    used = (pixels > 0).all(-1, keepdims=True)
    # The paper starts the least values at W and H and the greatest at 0.
    low = np.where(used, pixels, (width, height)).min(1, initial=max(width, height))
    low = np.minimum(low, (width, height)).astype(np.int64)
    high = np.where(used, np.minimum(pixels, (width, height)), 0).max(1, initial=0).astype(np.int64)
    for mask, (x0, y0), (x1, y1) in zip(masks, low, high, strict=True):
        if x0 < x1 and y0 < y1:
            mask[y0:y1, x0:x1] = FULL
    return masks


def motion_masks(pose: np.ndarray, height: int, width: int) -> dict[str, np.ndarray]:
    """The three motion masks of a pose sequence (MMGT-13).

    The face and each hand get a box of their own; the three are merged. The background is what they leave.

    Args:
        pose: (T, 134, 3) or (T, 134, 2): x and y as fractions of the frame; a missing point is (-1, -1).
        height: rows.
        width: columns.

    Returns:
        "face_hands", "lips" and "background" (= 255 - face_hands), each (T, height, width) uint8, 0 or 255.

    Raises:
        ValueError: the pose has another shape.
    """
    pose = np.asarray(pose)
    if pose.ndim != 3 or pose.shape[1] != POINTS or pose.shape[2] not in (2, 3):
        raise ValueError(f"motion_masks wants poses of shape (T, {POINTS}, 3), got {pose.shape}")
    regions = (region_mask(pose[:, region], height, width) for region in (FACE, LEFT_HAND, RIGHT_HAND))
    face_hands = np.maximum.reduce(list(regions))
    return {
        "face_hands": face_hands,
        "lips": region_mask(pose[:, LIPS], height, width),
        "background": (FULL - face_hands).astype(np.uint8),
    }
