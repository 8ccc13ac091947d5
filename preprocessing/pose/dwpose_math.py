"""The arithmetic around DWPose's two networks: fitting pictures in, reading people and points out.

Follows the published code of DWPose (detector YOLOX-l, pose RTMPose-l with SimCC heads). Colours: the detector was
trained on blue, green, red in 0 to 255, the pose network on normalised red, green, blue; both get what they were
trained on.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

DETECTOR_SIZE: Final = 640
STRIDES: Final = (8, 16, 32)
POSE_WIDTH: Final = 288
POSE_HEIGHT: Final = 384
SIMCC_SPLIT: Final = 2
PADDING: Final = 1.25
MEAN: Final = np.array([123.675, 116.28, 103.53], np.float32)
STD: Final = np.array([58.395, 57.12, 57.375], np.float32)


def letterbox(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """A frame in the top left corner of the detector's square, the rest grey (114).

    Args:
        frame: (H, W, 3) uint8 RGB.

    Returns:
        (3, 640, 640) float32 BGR in 0 to 255, and the scale that turned frame pixels into its pixels.
    """
    height, width = frame.shape[:2]
    scale = min(DETECTOR_SIZE / height, DETECTOR_SIZE / width)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    square = np.full((DETECTOR_SIZE, DETECTOR_SIZE, 3), 114, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(square[..., ::-1].transpose(2, 0, 1), np.float32), scale


def decode_people(raw: np.ndarray, scale: float, threshold: float = 0.3, overlap: float = 0.45) -> np.ndarray:
    """The people in one picture from the detector's raw numbers.

    Args:
        raw: (8400, 85): x, y, log width, log height, objectness, 80 classes of which the first is a person.
        scale: of `letterbox`.
        threshold: lowest objectness times class score.
        overlap: boxes that share more than this (intersection over union) with a better one are dropped.

    Returns:
        (N, 5) left, top, right, bottom in frame pixels and score, best first.
    """
    grids, steps = [], []
    for stride in STRIDES:
        cells = DETECTOR_SIZE // stride
        y, x = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
        grids.append(np.stack([x, y], -1).reshape(-1, 2))
        steps.append(np.full((cells * cells, 1), stride))
    stride = np.concatenate(steps)
    scores = raw[:, 4] * raw[:, 5]
    good = scores > threshold
    centre = (raw[good, :2] + np.concatenate(grids)[good]) * stride[good]
    size = np.exp(raw[good, 2:4]) * stride[good]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], -1) / scale
    kept = suppress(boxes, scores[good], overlap)
    return np.concatenate([boxes[kept], scores[good][kept, None]], -1).astype(np.float32)


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Non-maximum suppression: indices of the boxes (N, 4) to keep, best first."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order = scores.argsort(kind="stable")[::-1]
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.clip(high - low + 1, 0, None).prod(1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= overlap]
    return kept


@dataclass(frozen=True)
class Window:
    """What part of a frame the pose network sees: a box of its own aspect, in frame pixels.

    Args:
        centre: (2,) x, y.
        size: (2,) width, height; width / height = 288 / 384.
    """

    centre: np.ndarray
    size: np.ndarray

    @classmethod
    def around(cls, box: np.ndarray) -> "Window":
        """The window for a person's box (left, top, right, bottom): a quarter larger, then widened to the aspect."""
        centre = (box[:2] + box[2:4]) / 2
        width, height = (box[2:4] - box[:2]) * PADDING
        aspect = POSE_WIDTH / POSE_HEIGHT
        size = (width, width / aspect) if width > height * aspect else (height * aspect, height)
        return cls(np.asarray(centre, np.float64), np.maximum(np.asarray(size, np.float64), 1e-3))

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """The window's part of a frame (H, W, 3) uint8 RGB as the network's input, (3, 384, 288) float32."""
        scale = POSE_WIDTH / self.size[0]
        shift = np.array([POSE_WIDTH, POSE_HEIGHT]) / 2 - scale * self.centre
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        part = cv2.warpAffine(frame, matrix, (POSE_WIDTH, POSE_HEIGHT), flags=cv2.INTER_LINEAR)
        return np.ascontiguousarray(((part.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in pixels of the network's input, in pixels of the frame."""
        return points / (POSE_WIDTH, POSE_HEIGHT) * self.size + self.centre - self.size / 2


def decode_simcc(simcc_x: np.ndarray, simcc_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and scores from the pose network's two heads.

    Args:
        simcc_x: (B, 133, 576).
        simcc_y: (B, 133, 768).

    Returns:
        points (B, 133, 2) in pixels of the 288 x 384 input and scores (B, 133), the lower of the two maxima (may
        exceed 1).
    """
    points = np.stack([simcc_x.argmax(-1), simcc_y.argmax(-1)], -1) / SIMCC_SPLIT
    return points.astype(np.float32), np.minimum(simcc_x.max(-1), simcc_y.max(-1))
