"""The 134 key points that every pose in the project uses: DWPose's points in OpenPose order.

Layout (MMGT-2): 18 body, 6 feet, 68 face (iBUG-68), 21 left hand, 21 right hand. Left and right are the person's own.
A hand starts at the wrist, then thumb, index, middle, ring, little, four joints each from palm to tip.
"""

from typing import Final

import numpy as np

POINTS: Final = 134

BODY: Final = slice(0, 18)
FEET: Final = slice(18, 24)
FACE: Final = slice(24, 92)
LEFT_HAND: Final = slice(92, 113)
RIGHT_HAND: Final = slice(113, 134)
HANDS: Final = slice(92, 134)

BODY_NAMES: Final = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
FOOT_NAMES: Final = (
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
)
NOSE, NECK, RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST = range(8)

# The iBUG-68 face, as slices of the whole layout.
JAW: Final = slice(24, 24 + 17)
RIGHT_BROW: Final = slice(24 + 17, 24 + 22)
LEFT_BROW: Final = slice(24 + 22, 24 + 27)
NOSE_RIDGE: Final = slice(24 + 27, 24 + 31)
NOSE_BASE: Final = slice(24 + 31, 24 + 36)
RIGHT_EYE_RIM: Final = slice(24 + 36, 24 + 42)
LEFT_EYE_RIM: Final = slice(24 + 42, 24 + 48)
LIPS: Final = slice(24 + 48, 24 + 68)
OUTER_LIPS: Final = slice(24 + 48, 24 + 60)
INNER_LIPS: Final = slice(24 + 60, 24 + 68)
CHIN: Final = 24 + 8
INNER_LIP_TOP: Final = 24 + 62
INNER_LIP_BOTTOM: Final = 24 + 66

BODY_EDGES: Final = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
FOOT_EDGES: Final = ((13, 18), (13, 19), (13, 20), (10, 21), (10, 22), (10, 23))
_FINGERS: Final = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)
)
LEFT_HAND_EDGES: Final = tuple((92 + a, 92 + b) for a, b in _FINGERS)
RIGHT_HAND_EDGES: Final = tuple((113 + a, 113 + b) for a, b in _FINGERS)

# COCO-WholeBody's 133 points with the neck put in at 17, brought into OpenPose order.
_OPENPOSE_SLOTS: Final = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17)
_COCO_SLOTS: Final = (17, 6, 8, 10, 7, 9, 12, 14, 16, 13, 15, 2, 1, 4, 3)


def from_coco_wholebody(keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring COCO-WholeBody's 133 points into the 134 layout.

    Args:
        keypoints: (..., 133, 2), any unit.
        scores: (..., 133).

    Returns:
        keypoints (..., 134, 2) and scores (..., 134); the neck is the middle of the shoulders, its score the lower one.
    """
    neck = keypoints[..., [5, 6], :].mean(-2, keepdims=True)
    neck_score = scores[..., [5, 6]].min(-1, keepdims=True)
    joined = np.concatenate([keypoints[..., :17, :], neck, keypoints[..., 17:, :]], -2)
    joined_scores = np.concatenate([scores[..., :17], neck_score, scores[..., 17:]], -1)
    ordered, ordered_scores = joined.copy(), joined_scores.copy()
    ordered[..., list(_OPENPOSE_SLOTS), :] = joined[..., list(_COCO_SLOTS), :]
    ordered_scores[..., list(_OPENPOSE_SLOTS)] = joined_scores[..., list(_COCO_SLOTS)]
    return ordered, ordered_scores


def lip_opening(keypoints: np.ndarray) -> np.ndarray:
    """Vertical distance of the inner lips over the height of the face (brows to chin).

    Args:
        keypoints: (..., 134, 2) or (..., 134, 3) in any unit with square pixels or fractions of the frame; only the
            vertical axis is read, so the frame's shape does not matter.

    Returns:
        (...) without unit, about 0 for a closed mouth; 0 where the face has no height.
    """
    y = keypoints[..., 1]
    brows = (y[..., RIGHT_BROW].mean(-1) + y[..., LEFT_BROW].mean(-1)) / 2
    height = y[..., CHIN] - brows
    opening = y[..., INNER_LIP_BOTTOM] - y[..., INNER_LIP_TOP]
    return np.where(height > 0, opening / np.where(height > 0, height, 1), 0.0)
