"""The face from the 68 face points of any pose back end; no picture is looked at."""

import numpy as np

from models.human.keypoints import FACE
from preprocessing.face.geometry import face_arrays
from preprocessing.step import Draft
from settings.ranges import Fraction


class KeypointFace:
    """Boxes, eye openness and head pose from the pose's own face points.

    Adds `face.npz` with the 68 points as landmarks, depth 0. A frame has a face when all of its face points were found
    and their mean score is high enough.

    Args:
        minimum_score: lowest mean score of the 68 points, in [0, 1].
    """

    def __init__(self, minimum_score: Fraction = 0.3) -> None:
        self.minimum_score = minimum_score

    def __call__(self, draft: Draft) -> None:
        """Add the face of every frame; needs `pose.npz`."""
        pose = draft.arrays["pose.npz"]
        points, scores = pose["keypoints"][:, FACE], pose["scores"][:, FACE]
        mean = scores.mean(1)
        visible = (scores > 0).all(1) & (mean >= self.minimum_score)
        landmarks = np.concatenate([points, np.zeros_like(points[..., :1])], -1)
        draft.arrays["face.npz"] = face_arrays(
            points, np.where(visible, mean, 0), points, landmarks, draft.info.width, draft.info.height
        )
