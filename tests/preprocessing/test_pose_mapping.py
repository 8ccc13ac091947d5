"""The map from MediaPipe's points to the 134: every point where it belongs, left and right the person's own."""

import numpy as np
import pytest

from models.human.keypoints import (
    BODY_NAMES,
    CHIN,
    FACE,
    FEET,
    FOOT_NAMES,
    INNER_LIP_BOTTOM,
    INNER_LIP_TOP,
    LEFT_HAND,
    NECK,
    POINTS,
    RIGHT_HAND,
)  # fmt: skip
from preprocessing.pose.holistic import Found
from preprocessing.pose.mapping import BODY_POINTS, FACE_VERTICES, FOOT_POINTS, face68, to_134

# MediaPipe's own names of its 33 points.
POSE_NAMES = [
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
]


def found(**changes) -> Found:
    random = np.random.default_rng(0)
    body = random.random((33, 4)).astype(np.float32)
    body[:, 2:] = 0.9
    values = {
        "body": body,
        "face": random.random((478, 3)).astype(np.float32),
        "face_score": 0.95,
        "left_hand": random.random((21, 3)).astype(np.float32),
        "left_hand_score": 0.7,
        "right_hand": random.random((21, 3)).astype(np.float32),
        "right_hand_score": 0.6,
    }
    return Found(**{**values, **changes})


@pytest.mark.paper("MMGT-2")
def test_every_body_point_is_mediapipes_point_of_the_same_name():
    assert [
        landmark.name.lower() for landmark in pytest.importorskip("mediapipe").solutions.pose.PoseLandmark
    ] == POSE_NAMES
    for names, points in ((BODY_NAMES, BODY_POINTS), (FOOT_NAMES, FOOT_POINTS)):
        for name, point in zip(names, points, strict=True):
            if point >= 0:
                assert POSE_NAMES[point] == name.replace("big_toe", "foot_index")
    assert [BODY_NAMES[i] for i, point in enumerate(BODY_POINTS) if point < 0] == ["neck"]
    assert [FOOT_NAMES[i] for i, point in enumerate(FOOT_POINTS) if point < 0] == ["left_small_toe", "right_small_toe"]


@pytest.mark.paper("MMGT-2")
def test_neck_small_toes_hands_and_scores():
    seen = found()
    pose = to_134(seen)
    assert pose.shape == (POINTS, 3)
    assert pose.dtype == np.float32
    np.testing.assert_allclose(pose[NECK, :2], seen.body[[11, 12], :2].mean(0))
    assert (pose[[FEET.start + 1, FEET.start + 4]] == (-1, -1, 0)).all()
    np.testing.assert_array_equal(pose[LEFT_HAND, :2], seen.left_hand[:, :2])
    np.testing.assert_array_equal(pose[RIGHT_HAND, :2], seen.right_hand[:, :2])
    assert np.allclose(pose[LEFT_HAND, 2], 0.7)
    assert np.allclose(pose[RIGHT_HAND, 2], 0.6)
    assert np.allclose(pose[FACE, 2], 0.95)


def test_the_score_is_the_lower_of_visibility_and_presence_and_low_scores_are_missing():
    seen = found()
    seen.body[0, 2:] = (0.9, 0.3)  # nose: not hidden, but hardly in the picture
    seen.body[16, 2:] = (0.05, 0.9)  # right wrist: hidden
    seen.body[12, 2:] = (0.4, 0.8)  # right shoulder
    pose = to_134(seen)
    assert pose[0, 2] == pytest.approx(0.3)
    assert (pose[4] == (-1, -1, 0)).all()
    assert pose[NECK, 2] == pytest.approx(0.4)


@pytest.mark.paper("MMGT-2")
def test_points_outside_the_picture_keep_their_place():
    seen = found()
    seen.body[15, :2] = (1.2, -0.3)
    assert to_134(seen)[7, :2].tolist() == pytest.approx([1.2, -0.3])


def test_nobody_is_all_missing():
    nobody = Found(None, None, 0, None, 0, None, 0)
    assert (to_134(nobody) == (-1, -1, 0)).all()


def test_the_face_table_is_symmetric_like_the_mesh():
    """The mesh's own left-right pairs, from the contours that mediapipe publishes, pair up iBUG's left and right."""
    contours = pytest.importorskip("mediapipe").solutions.face_mesh_connections
    right = {v for edge in contours.FACEMESH_RIGHT_EYE | contours.FACEMESH_RIGHT_EYEBROW for v in edge}
    left = {v for edge in contours.FACEMESH_LEFT_EYE | contours.FACEMESH_LEFT_EYEBROW for v in edge}
    lips = {v for edge in contours.FACEMESH_LIPS for v in edge}
    oval = {v for edge in contours.FACEMESH_FACE_OVAL for v in edge}
    assert len(FACE_VERTICES) == 68
    for first, last, group in (
        (17, 22, right),
        (22, 27, left),
        (36, 42, right),
        (42, 48, left),
        (48, 68, lips),
        (0, 17, oval),
    ):
        assert {v for vertices in FACE_VERTICES[first:last] for v in vertices} <= group
    assert len(set(FACE_VERTICES)) == 68


def test_face68_takes_vertices_and_middles():
    mesh = np.arange(478 * 3, dtype=np.float32).reshape(478, 3)
    face = face68(mesh)
    np.testing.assert_array_equal(face[CHIN - FACE.start], mesh[152])
    np.testing.assert_array_equal(face[INNER_LIP_TOP - FACE.start], mesh[13])
    np.testing.assert_array_equal(face[INNER_LIP_BOTTOM - FACE.start], mesh[14])
    np.testing.assert_array_equal(face[27], (mesh[168] + mesh[6]) / 2)
    assert face68(np.stack([mesh, mesh])).shape == (2, 68, 3)
