"""Where faces are in frames that nobody knows the key points of: generated ones, and the true ones beside them."""

from typing import Any, Final

import numpy as np
from torch import Tensor

DETECTOR: Final = "MediaPipe face mesh"
EVERY: Final = 5
"""Every so many frames one is looked at: expressions change slowly, and each takes some ten milliseconds."""
_GRAPH: Final = "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb"
_SIDE: Final = 256  # smaller pictures are made larger: the detector was trained on faces of some size


class FaceFinder:
    """The 68 points of the face of every frame, each by itself, with MediaPipe's face mesh."""

    def __init__(self) -> None:
        from preprocessing.pose.graph import Graph

        # Nothing is carried from frame to frame, so that a figure does not depend on which were looked at before.
        side_inputs = {"num_faces": 1, "with_attention": True, "use_prev_landmarks": False}
        self._graph = Graph(_GRAPH, side_inputs=side_inputs, outputs=["multi_face_landmarks"])
        self._truth: tuple[Tensor, np.ndarray] | None = None

    def __call__(self, frames: Tensor) -> np.ndarray:
        """Points (T, 68, 3) of frames (T, 3, H, W), uint8 or float in [0, 1].

        x and y are fractions of the frame, and z of its width; NaN where no face was found.
        """
        from metrics.frames import as_bytes
        from preprocessing.pose.holistic import landmarks_array
        from preprocessing.pose.mapping import face68

        found = np.full((len(frames), 68, 3), np.nan)
        for i, frame in enumerate(as_bytes(frames).permute(0, 2, 3, 1).cpu().numpy()):
            result: Any = self._graph(_large(frame))
            if result.multi_face_landmarks:
                mesh: Any = landmarks_array(result.multi_face_landmarks[0])
                found[i] = face68(mesh)
        return found

    def of_truth(self, frames: Tensor) -> np.ndarray:
        """The same for true frames, which several systems in turn are held against: found once."""
        if self._truth is None or self._truth[0] is not frames:
            self._truth = (frames, self(frames[::EVERY]))
        return self._truth[1]


def _large(frame: np.ndarray) -> np.ndarray:
    import cv2

    height, width = frame.shape[:2]
    scale = _SIDE / min(height, width)
    if scale <= 1:
        return np.ascontiguousarray(frame)
    size = (round(width * scale), round(height * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)


def in_widths(points: np.ndarray, frames: Tensor) -> np.ndarray:
    """Points (T, 68, 3) of frames (T, 3, H, W) in one unit along all axes: the frame's width."""
    return points * (1.0, frames.shape[2] / frames.shape[3], 1.0)
