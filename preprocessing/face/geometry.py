"""What the 68 points of a face tell: boxes, how far the eyes are open, where the head points."""

from typing import Final

import cv2
import numpy as np

from models.human.canonical_face import CANONICAL, RIGID

# Six points of each eye: outer corner, two of the upper lid, inner corner, two of the lower lid (left eye: inner
# first).
_EYES: Final = np.array([[36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]])
_LIPS: Final = slice(48, 68)

_MODEL: Final = np.ascontiguousarray(CANONICAL * (1, -1, -1))  # OpenCV's axes: right, down, away from the camera


def box(points: np.ndarray) -> np.ndarray:
    """The box (..., 4), left, top, right, bottom, around points (..., N, 2)."""
    return np.concatenate([points.min(-2), points.max(-2)], -1)


def lip_box(face: np.ndarray) -> np.ndarray:
    """The box (..., 4) around the lips of iBUG-68 faces (..., 68, 2)."""
    return box(face[..., _LIPS, :])


def eye_openness(face: np.ndarray) -> np.ndarray:
    """Height of the eyes over their width, mean of both: about 0.3 for open eyes and under 0.15 for closed ones.

    Args:
        face: (..., 68, 2) iBUG-68 in pixels, or any unit that is the same in x and y.

    Returns:
        (...), 0 for eyes without width.
    """
    eyes = face[..., _EYES, :]  # (..., 2, 6, 2)

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(eyes[..., a, :] - eyes[..., b, :], axis=-1)

    width = distance(0, 3)
    ratio = (distance(1, 5) + distance(2, 4)) / np.where(width > 0, 2 * width, 1)
    return np.where(width > 0, ratio, 0).mean(-1)


def head_pose(face: np.ndarray, width: int, height: int) -> np.ndarray:
    """Where the head points, from the rigid points of a face by OpenCV's solvePnP on the canonical face.

    The camera is taken to have no distortion, its axis in the middle of the picture and a focal length of the longer
    side (53 degrees across that side).

    Args:
        face: (68, 2) iBUG-68 in pixels.
        width: of the picture.
        height: of the picture.

    Returns:
        (3,) yaw, pitch, roll in degrees, all 0 for a face that looks straight along the camera's axis. Positive yaw
        turns the nose to the person's own left (right in the picture), positive pitch looks up, positive roll tilts
        the head towards the person's own left shoulder (clockwise in the picture). The head is turned by yaw after
        pitch after roll.
    """
    focal = float(max(width, height))
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    image = np.ascontiguousarray(face[list(RIGID)], np.float64)
    # Starting from a frontal face in front of the camera keeps the solver off the mirrored solution behind it.
    eyes_apart = max(float(np.linalg.norm(image[3] - image[0])), 1e-3)
    depth = focal * (_MODEL[3, 0] - _MODEL[0, 0]) / eyes_apart
    middle = image[:4].mean(0) - (width / 2, height / 2)
    start = np.array([*(middle * depth / focal), depth]) - _MODEL[:4].mean(0)
    _, turn, _ = cv2.solvePnP(
        _MODEL, image, camera, None, np.zeros((3, 1)), start.reshape(3, 1), True, flags=cv2.SOLVEPNP_ITERATIVE
    )
    rotation = cv2.Rodrigues(turn)[0]
    yaw = -np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.degrees([yaw, pitch, roll])


def face_arrays(
    face: np.ndarray, scores: np.ndarray, outline: np.ndarray, landmarks: np.ndarray, width: int, height: int
) -> dict[str, np.ndarray]:
    """The arrays of `face.npz`; frames with score 0 have no face.

    Args:
        face: (T, 68, 2) iBUG-68 as fractions of the frame.
        scores: (T,) in [0, 1], 0 without a face.
        outline: (T, N, 2) the points that the face box shall hold, as fractions.
        landmarks: (T, L, 3) what to store as landmarks, as fractions.
        width: of the frame in pixels.
        height: of the frame in pixels.
    """
    visible = scores > 0
    pixels = face * np.array([width, height], np.float32)
    pose = np.zeros((len(face), 3))
    for index in np.flatnonzero(visible):
        pose[index] = head_pose(pixels[index], width, height)
    row = visible[:, None]
    return {
        "boxes": np.where(row, box(outline), -1).astype(np.float32),
        "lip_boxes": np.where(row, lip_box(face), -1).astype(np.float32),
        "scores": scores.astype(np.float32),
        "blink": np.where(visible, eye_openness(pixels), 0).astype(np.float32),
        "head_pose": np.where(row, pose, 0).astype(np.float32),
        "landmarks": np.where(row[..., None], landmarks, -1).astype(np.float32),
    }
