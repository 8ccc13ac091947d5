"""Where faces are in frames that nobody knows the key points of: generated ones, and the true ones beside them."""

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

DETECTOR: Final = "MediaPipe face mesh"
EVERY: Final = 5
"""Every so many frames one is looked at: expressions change slowly, and each takes some ten milliseconds."""
CROP: Final = 256  # pixels of a face crop (MMGT-23: videos at 256 x 256)
MARGIN: Final = 0.25  # of the face, on every side of a crop
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


def face_crop(frames: Tensor, box: tuple[float, float, float, float], side: int = CROP) -> Tensor:
    """Frames (T, 3, H, W), uint8 or float in [0, 1], cut to a box and brought to (T, 3, side, side), float in [0, 1].

    Args:
        frames: of a clip.
        box: left, top, right, bottom as fractions of the frame.
        side: of the crops in pixels.
    """
    from torchvision.transforms.v2 import functional as pictures

    height, width = frames.shape[2:]
    left, top, right, bottom = box
    x, y = max(0, round(left * width)), max(0, round(top * height))
    columns, rows = max(2, round(right * width) - x), max(2, round(bottom * height) - y)
    cut = frames[..., y : y + rows, x : x + columns]
    cut = cut.float() / 255 if cut.dtype == torch.uint8 else cut
    return pictures.resize(cut, [side, side], antialias=True).clamp(0, 1)


def face_box(points: np.ndarray, aspect: float) -> tuple[float, float, float, float] | None:
    """One box for all of a clip: a square around the face wherever it goes, a quarter larger on every side.

    Args:
        points: (T, 68, 3) of its frames as fractions of the frame; NaN where no face was found.
        aspect: the frame's width over its height.

    Returns:
        Left, top, right, bottom as fractions, inside the frame; None where no face was found.
    """
    places = points[..., :2]
    there = places[~np.isnan(places).any((1, 2))]
    if not len(there):
        return None
    low, high = there.min((0, 1)), there.max((0, 1))
    unit = np.array([1.0, aspect])  # fractions of the height as long as those of the width
    middle = (low + high) / 2
    reach = (0.5 + MARGIN) * max((high - low) / unit) * unit
    left, top = np.maximum(middle - reach, 0)
    right, bottom = np.minimum(middle + reach, 1)
    return float(left), float(top), float(right), float(bottom)


def box_around(points: Tensor, aspect: float) -> tuple[float, float, float, float] | None:
    """Such a square around all points that are seen in any of the frames; None where none is.

    Args:
        points: (T, K, 3) of a pose: x and y as fractions of the frame, and a score.
        aspect: the frame's width over its height.
    """
    visible = points[points[..., 2] > 0].numpy().astype(np.float64)
    return face_box(visible[:, None], aspect) if len(visible) else None
