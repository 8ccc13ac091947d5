"""The face by MediaPipe's face mesh of 478 points."""

from typing import Any, Final

import numpy as np

from models.human.keypoints import FACE
from preprocessing.face.geometry import face_arrays
from preprocessing.pose.frames import ahead, shrink
from preprocessing.pose.graph import Graph
from preprocessing.pose.holistic import landmarks_array
from preprocessing.pose.mapping import face68
from preprocessing.step import Draft
from settings import ConfigError
from settings.ranges import Fraction, Pixels

_GRAPH: Final = "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb"
_DETECTION: Final = "facedetectionshortrangecpu__facedetectionshortrange__facedetection__TensorsToDetectionsCalculator"
_SCORE: Final = "facelandmarkcpu__face_presence_score"
_VERTICES: Final = 478
_MARGIN: Final = 1.0  # how much wider than the face the crop is on each side, in face widths: the detector wants room


class MediaPipeFace:
    """Boxes, eye openness, head pose and the 478 landmarks of the face with MediaPipe.

    Adds `face.npz`. The mesh that the `mediapipe` pose back end found on its way is used again; with another back end
    MediaPipe's face mesh runs here, over the part of the picture where the pose has its face points.

    Args:
        side: pictures are made smaller so that their longer side has at most this many pixels.
        detection: lowest confidence for a face to count as found, in [0, 1].
        tracking: lowest presence of a face that is followed, in [0, 1].
    """

    def __init__(self, side: Pixels = 512, detection: Fraction = 0.5, tracking: Fraction = 0.5) -> None:
        if side < 64:
            raise ConfigError(f"face side {side}: MediaPipe needs pictures of at least 64 pixels")
        self.side = side
        self._graph = Graph(
            _GRAPH,
            side_inputs={"num_faces": 1, "with_attention": True, "use_prev_landmarks": True},
            calculator_params={
                f"{_DETECTION}.min_score_thresh": detection,
                "facelandmarkcpu__ThresholdingCalculator.threshold": tracking,
            },
            outputs=["multi_face_landmarks", _SCORE],
        )

    def __call__(self, draft: Draft) -> None:
        """Add the face of every frame; uses the pose back end's mesh, or `pose.npz` where there is one."""
        mesh, scores = draft.extras.get("face_mesh"), draft.extras.get("face_mesh_scores")
        if mesh is None or scores is None:
            mesh, scores = self._track(draft)
        points = face68(mesh[..., :2])
        draft.arrays["face.npz"] = face_arrays(
            points, np.clip(scores, 0, 1), mesh[..., :2], mesh, draft.info.width, draft.info.height
        )

    def _track(self, draft: Draft) -> tuple[np.ndarray, np.ndarray]:
        """Meshes (T, 478, 3) as fractions of the frame, -1 where missing, and scores (T,)."""
        left, top, right, bottom = crop = face_region(draft)
        meshes, scores = [], []
        self._graph.reset()
        for small in ahead(draft.frames(), lambda frame: shrink(frame[top:bottom, left:right], self.side)):
            result: Any = self._graph(small)
            found = result.multi_face_landmarks
            mesh = landmarks_array(found[0]) if found else None
            meshes.append(np.full((_VERTICES, 3), -1, np.float32) if mesh is None else _uncrop(mesh, crop, draft))
            scores.append(0.0 if mesh is None else getattr(result, _SCORE) or 0.0)
        return np.stack(meshes), np.array(scores, np.float32)


def face_region(draft: Draft) -> tuple[int, int, int, int]:
    """Where in the frame the face is during the whole clip: left, top, right, bottom in pixels, with room around it.

    The whole frame where there is no pose with face points.
    """
    width, height = draft.info.width, draft.info.height
    pose = draft.arrays.get("pose.npz")
    visible = None if pose is None else pose["scores"][:, FACE] > 0.3
    if pose is None or visible is None or not visible.any():
        return 0, 0, width, height
    points = pose["keypoints"][:, FACE][visible] * (width, height)
    # Single wild points would open the crop to the whole frame.
    low, high = np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0)
    room = _MARGIN * max(high - low)
    left, top = np.floor(np.maximum(low - room, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(high + room, (width, height))).astype(int)
    if right - left < 32 or bottom - top < 32:
        return 0, 0, width, height
    return int(left), int(top), int(right), int(bottom)


def _uncrop(mesh: np.ndarray, crop: tuple[int, int, int, int], draft: Draft) -> np.ndarray:
    left, top, right, bottom = crop
    width, height = draft.info.width, draft.info.height
    scale = np.array([(right - left) / width, (bottom - top) / height, (right - left) / width])
    return (mesh * scale + (left / width, top / height, 0)).astype(np.float32)
