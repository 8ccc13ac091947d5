"""MediaPipe's Holistic graph with its confidences: body, face mesh and hands of one person, frame after frame.

The graph's own Python class hides the scores of face and hands and clears the body's *presence*; they are streams
inside the graph, so this reads them from there. Everything runs on the CPU from model files inside the mediapipe
package.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from preprocessing.pose.graph import Graph

GRAPH: Final = "mediapipe/modules/holistic_landmark/holistic_landmark_cpu.binarypb"
_FACE_SCORE: Final = "facelandmarksfromposecpu__facelandmarkcpu__face_presence_score"
_HAND_SCORE: Final = "handlandmarksleftandrightcpu__handlandmarksfromposecpu_{}__handlandmarkcpu__hand_presence_score"
_LEFT_SCORE: Final = _HAND_SCORE.format(1)
_RIGHT_SCORE: Final = _HAND_SCORE.format(2)
_DETECTION_THRESHOLD: Final = "poselandmarkcpu__posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh"
_TRACKING_THRESHOLD: Final = (
    "poselandmarkcpu__poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold"
)


@dataclass(frozen=True)
class Found:
    """What MediaPipe found in one frame; x and y are fractions of the frame.

    Args:
        body: (33, 4) x, y, visibility, presence; None without a person.
        face: (478, 3) x, y and depth in the scale of x; None without a face.
        face_score: presence of the face, in [0, 1].
        left_hand: (21, 3), the person's own left hand, or None.
        left_hand_score: its presence, in [0, 1].
        right_hand: (21, 3) or None.
        right_hand_score: its presence.
    """

    body: np.ndarray | None
    face: np.ndarray | None
    face_score: float
    left_hand: np.ndarray | None
    left_hand_score: float
    right_hand: np.ndarray | None
    right_hand_score: float


class Holistic:
    """Follows one person through a video, or looks at single pictures.

    Args:
        static: treat every frame as a picture of its own: no following, no smoothing.
        detection: lowest confidence for a person to count as found, in [0, 1].
        tracking: lowest confidence to go on following; below it the person is searched anew.
    """

    def __init__(self, static: bool = False, detection: float = 0.5, tracking: float = 0.5) -> None:
        self._graph = Graph(
            GRAPH,
            side_inputs={
                "model_complexity": 1,
                "smooth_landmarks": not static,
                "enable_segmentation": False,
                "smooth_segmentation": False,
                "refine_face_landmarks": True,
                "use_prev_landmarks": not static,
            },
            calculator_params={_DETECTION_THRESHOLD: detection, _TRACKING_THRESHOLD: tracking},
            outputs=[
                "pose_landmarks",
                "face_landmarks",
                "left_hand_landmarks",
                "right_hand_landmarks",
                _FACE_SCORE,
                _LEFT_SCORE,
                _RIGHT_SCORE,
            ],
        )

    def reset(self) -> None:
        """Forget the frames seen so far; the next one starts a new video."""
        self._graph.reset()

    def __call__(self, frame: np.ndarray) -> Found:
        """Points of the most prominent person in the next frame, (H, W, 3) uint8 RGB."""
        result = self._graph(frame)
        return Found(
            body=landmarks_array(result.pose_landmarks, body=True),
            face=landmarks_array(result.face_landmarks),
            face_score=getattr(result, _FACE_SCORE) or 0.0,
            left_hand=landmarks_array(result.left_hand_landmarks),
            left_hand_score=getattr(result, _LEFT_SCORE) or 0.0,
            right_hand=landmarks_array(result.right_hand_landmarks),
            right_hand_score=getattr(result, _RIGHT_SCORE) or 0.0,
        )


def landmarks_array(landmarks: Any, body: bool = False) -> np.ndarray | None:
    """A MediaPipe landmark list as (N, 3) x, y, z, or with `body` (N, 4) x, y, visibility, presence; None stays
    None."""
    if landmarks is None:
        return None
    if body:
        return np.array([(p.x, p.y, p.visibility, p.presence) for p in landmarks.landmark], np.float32)
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)
