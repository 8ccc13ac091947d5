"""How many people are in the picture, counted by their faces."""

from typing import Any, Final

import numpy as np

from preprocessing.pose.graph import Graph

_GRAPH: Final = "mediapipe/modules/face_detection/face_detection_full_range_cpu.binarypb"
_THRESHOLD: Final = "facedetectionfullrange__facedetection__TensorsToDetectionsCalculator.min_score_thresh"


class FaceCounter:
    """Counts faces with MediaPipe's full-range detector (faces within some five metres; not people seen from behind).

    Args:
        detection: lowest confidence of a face, in [0, 1].
        smallest: a face counts only when it is at least this high, as a share of the largest face's height: posters,
            screens and passers-by far behind are no second speaker.
    """

    def __init__(self, detection: float = 0.6, smallest: float = 0.4) -> None:
        self.smallest = smallest
        self._graph = Graph(_GRAPH, calculator_params={_THRESHOLD: detection}, outputs=["detections"])

    def boxes(self, frame: np.ndarray) -> np.ndarray:
        """(N, 4) left, top, right, bottom of the faces as fractions of the frame, (H, W, 3) uint8 RGB."""
        found: list[Any] = self._graph(frame).detections or []
        boxes = [detection.location_data.relative_bounding_box for detection in found]
        return np.array([(b.xmin, b.ymin, b.xmin + b.width, b.ymin + b.height) for b in boxes], np.float32).reshape(
            -1, 4
        )

    def __call__(self, frame: np.ndarray) -> int:
        """The number of people in a frame."""
        boxes = self.boxes(frame)
        if not len(boxes):
            return 0
        heights = boxes[:, 3] - boxes[:, 1]
        return int((heights >= self.smallest * heights.max()).sum())
