"""Key points by MediaPipe: works offline, on the CPU, from model files inside the package. The default."""

import numpy as np

from preprocessing.pose.frames import ahead, shrink
from preprocessing.pose.holistic import Holistic
from preprocessing.pose.mapping import to_134
from preprocessing.pose.people import FaceCounter
from preprocessing.step import Draft
from settings import ConfigError
from settings.ranges import Fraction, NonNegative, Pixels


class MediaPipePose:
    """Key points of the most prominent person with MediaPipe Holistic, mapped to the 134 layout.

    Adds `pose.npz`. Shares in `draft.extras`: `face_mesh` (T, 478, 3) with `face_mesh_scores` (T,), -1 and 0 where no
    face was found, and `people` (n,), the number of people in every n-th frame. `preprocessing.pose.mapping` states
    the map and what the scores are. The same clip gives the same bytes every time.

    Args:
        side: frames are made smaller so that their longer side has at most this many pixels.
        minimum_score: points with a lower score are stored as missing, in [0, 1].
        detection: lowest confidence for a person to count as found, in [0, 1].
        tracking: lowest confidence to go on following a person, in [0, 1].
        people_every: seconds between two counts of the people in the picture; 0 counts none.
    """

    def __init__(
        self,
        side: Pixels = 768,
        minimum_score: Fraction = 0.1,
        detection: Fraction = 0.5,
        tracking: Fraction = 0.5,
        people_every: NonNegative = 1.0,
    ) -> None:
        if side < 64:
            raise ConfigError(f"pose side {side}: MediaPipe needs frames of at least 64 pixels")
        self.side, self.minimum_score, self.people_every = side, minimum_score, people_every
        self._holistic = Holistic(detection=detection, tracking=tracking)
        self._count = FaceCounter()

    def __call__(self, draft: Draft) -> None:
        """Find the key points of every frame of the clip."""
        self._holistic.reset()
        every = round(self.people_every * draft.fps)
        poses, meshes, mesh_scores, people = [], [], [], []
        for index, frame in enumerate(ahead(draft.frames(), lambda frame: shrink(frame, self.side))):
            found = self._holistic(frame)
            poses.append(to_134(found, self.minimum_score))
            meshes.append(np.full((478, 3), -1, np.float32) if found.face is None else found.face)
            mesh_scores.append(0.0 if found.face is None else found.face_score)
            if every and index % every == 0:
                people.append(self._count(frame))
        pose = np.stack(poses)
        draft.arrays["pose.npz"] = {"keypoints": pose[..., :2].copy(), "scores": pose[..., 2].copy()}
        draft.extras["face_mesh"] = np.stack(meshes)
        draft.extras["face_mesh_scores"] = np.array(mesh_scores, np.float32)
        if every:
            draft.extras["people"] = np.array(people)
