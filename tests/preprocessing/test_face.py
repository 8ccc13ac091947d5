"""Boxes, eyes and head pose: signs, sizes, missing faces, and the real thing."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.clip import ClipInfo, check
from datamodules.media.files import encode_video, read_frames
from models.human.canonical_face import CANONICAL, RIGID
from models.human.keypoints import FACE, POINTS
from preprocessing.face.geometry import eye_openness, head_pose, lip_box
from preprocessing.face.keypoints import KeypointFace
from preprocessing.face.mediapipe import MediaPipeFace, face_region
from preprocessing.pose.frames import shrink
from preprocessing.pose.mediapipe import MediaPipePose
from preprocessing.step import Draft, SourceFile

MEDIA = Path(os.environ.get("COSPEECH_MEDIA", "nowhere"))
real = pytest.mark.skipif(not (MEDIA / "videos").is_dir(), reason="no real media (COSPEECH_MEDIA)")
WIDTH, HEIGHT = 640, 480


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The picture (68, 2), in pixels, of the canonical face turned by angles as a person would say them.

    The turning is written out in the face's own axes (x to the person's left, y up, z out of the face).
    """
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    to_left = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])  # z towards x
    up = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])  # z towards y
    to_shoulder = np.array(
        [[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )  # y towards x
    points = CANONICAL @ (to_left @ up @ to_shoulder).T
    depth = 60 - points[:, 2]
    # The person's left is on the right of the picture, up is a smaller row.
    pixels = np.stack([WIDTH * points[:, 0] / depth + WIDTH / 2, HEIGHT / 2 - WIDTH * points[:, 1] / depth], -1)
    face = np.zeros((68, 2))
    face[list(RIGID)] = pixels
    return face


@pytest.mark.parametrize(
    "angles",
    [
        (0, 0, 0),
        (30, 0, 0),
        (-45, 0, 0),
        (0, 25, 0),
        (0, -25, 0),
        (0, 0, 20),
        (0, 0, -35),
        (25, -15, 10),
        (-60, 20, -20),
    ],
)
def test_head_pose_finds_the_angles_with_their_signs(angles):
    np.testing.assert_allclose(head_pose(turned(*angles), WIDTH, HEIGHT), angles, atol=0.1)


def test_signs_in_the_picture():
    """Nose to the right of the picture, nose up, head tilted clockwise: all positive."""
    straight = turned(0, 0, 0)
    nose, eye_right, eye_left = 30, 36, 45
    left, up, tilted = turned(20, 0, 0), turned(0, 20, 0), turned(0, 0, 20)
    assert left[nose, 0] > straight[nose, 0] + 10
    assert up[nose, 1] < straight[nose, 1] - 10
    assert tilted[eye_left, 1] > tilted[eye_right, 1] + 10


def test_head_pose_bears_noise_and_a_face_off_the_middle():
    random = np.random.default_rng(0)
    for _ in range(20):
        angles = random.uniform(-25, 25, 3)
        face = turned(*angles) + random.normal(0, 0.5, (68, 2))
        assert np.abs(head_pose(face, WIDTH, HEIGHT) - angles).max() < 6


def test_the_canonical_face_is_symmetric():
    mirrored = CANONICAL * (-1, 1, 1)
    pairs = {36: 45, 39: 42, 31: 35}
    order = [RIGID.index(pairs.get(i, {v: k for k, v in pairs.items()}.get(i, i))) for i in RIGID]
    np.testing.assert_allclose(mirrored[order], CANONICAL)


def eyes(height: float) -> np.ndarray:
    face = np.zeros((68, 2))
    for first in (36, 42):
        face[first : first + 6] = [
            (0, 0),
            (10, -height / 2),
            (20, -height / 2),
            (30, 0),
            (20, height / 2),
            (10, height / 2),
        ]
    return face


def test_eye_openness_is_height_over_width_of_both_eyes():
    assert eye_openness(eyes(9)) == pytest.approx(0.3)
    one_shut = eyes(9)
    one_shut[42:48, 1] = 0
    assert eye_openness(one_shut) == pytest.approx(0.15)
    assert eye_openness(np.zeros((68, 2))) == 0
    assert eye_openness(np.stack([eyes(9), eyes(3)])).tolist() == pytest.approx([0.3, 0.1])


def test_lip_box_holds_the_mouth_alone():
    face = np.zeros((68, 2))
    face[48:68] = 0.5
    face[54], face[57] = (0.7, 0.5), (0.6, 0.9)
    np.testing.assert_allclose(lip_box(face), [0.5, 0.5, 0.7, 0.9])


def draft(frames: int, video: bytes = b"", width: int = WIDTH, height: int = HEIGHT) -> Draft:
    info = ClipInfo(id="a", source="a.mp4", end=frames / 25, fps=25, frames=frames, width=width, height=height)
    return Draft(info=info, video=video, fps=25, audio=None, source=SourceFile(Path("a.mp4"), "a.mp4", Path(".")))


def test_face_from_key_points_and_its_missing_frames():
    clip = draft(3)
    face = turned(15, 0, 0) / (WIDTH, HEIGHT)
    face[48:68] = (0.5, 0.7)
    face[:17] = np.stack([np.linspace(0.2, 0.8, 17), np.full(17, 0.8)], -1)
    points, scores = np.full((3, POINTS, 2), -1, np.float32), np.zeros((3, POINTS), np.float32)
    points[:2, FACE], scores[:2, FACE] = face, 0.8
    scores[1, 30], points[1, 30] = 0, -1  # one point is missing in the second frame
    clip.arrays["pose.npz"] = {"keypoints": points, "scores": scores}
    KeypointFace()(clip)
    found = clip.arrays["face.npz"]
    check("face.npz", found, clip.info)
    assert found["scores"].tolist() == pytest.approx([0.8, 0, 0])
    assert found["head_pose"][0].tolist() == pytest.approx([15, 0, 0], abs=0.5)
    np.testing.assert_allclose(found["landmarks"][0, :, :2], face, atol=1e-6)
    for name in ("boxes", "lip_boxes", "landmarks"):
        assert (found[name][1:] == -1).all()
    assert not found["blink"][1:].any()
    assert not found["head_pose"][1:].any()


def test_a_video_without_a_face():
    random = np.random.default_rng(0)
    frames = [random.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(4)]
    clip = draft(4, encode_video(frames, 25), 128, 96)
    MediaPipeFace()(clip)
    check("face.npz", clip.arrays["face.npz"], clip.info)
    assert not clip.arrays["face.npz"]["scores"].any()


def test_the_region_holds_the_face_of_the_whole_clip_with_room():
    clip = draft(2)
    assert face_region(clip) == (0, 0, WIDTH, HEIGHT)
    points, scores = np.full((2, POINTS, 2), 0.5, np.float32), np.full((2, POINTS), 0.9, np.float32)
    points[0, FACE] = np.linspace((0.45, 0.4), (0.5, 0.5), 68)
    points[1, FACE] = np.linspace((0.5, 0.4), (0.55, 0.5), 68)
    clip.arrays["pose.npz"] = {"keypoints": points, "scores": scores}
    left, top, right, bottom = face_region(clip)
    assert left < 0.42 * WIDTH
    assert right > 0.58 * WIDTH
    assert top < 0.35 * HEIGHT
    assert bottom > 0.55 * HEIGHT
    assert right - left < 0.5 * WIDTH


@real
def test_a_real_face_the_three_ways_agree():
    """From the pose step's mesh, from MediaPipe's own face mesh over the region, and from 68 key points."""
    pictures = []
    for frame in read_frames(MEDIA / "videos" / "latentsync_demo3_video.mp4"):
        pictures.append(shrink(frame, 640)[:640, :360])
        if len(pictures) == 20:
            break
    clip = draft(20, encode_video(pictures, 25), 360, 640)
    MediaPipePose()(clip)
    MediaPipeFace()(clip)
    shared = clip.arrays.pop("face.npz")
    check("face.npz", shared, clip.info)
    assert shared["scores"].min() > 0.9
    assert shared["landmarks"].shape == (20, 478, 3)
    inside = (shared["lip_boxes"] - shared["boxes"]) * (1, 1, -1, -1)
    assert (inside > 0).all(), "the lips are in the face"
    KeypointFace()(clip)
    points = clip.arrays.pop("face.npz")
    np.testing.assert_allclose(points["head_pose"], shared["head_pose"], atol=1e-3)
    np.testing.assert_allclose(points["blink"], shared["blink"], atol=1e-5)
    clip.extras.clear()
    MediaPipeFace()(clip)
    own = clip.arrays["face.npz"]
    assert own["scores"].min() > 0.5
    assert np.abs(own["landmarks"][..., :2] - shared["landmarks"][..., :2]).mean() < 0.01
    assert np.abs(own["head_pose"] - shared["head_pose"]).mean() < 4


@real
def test_a_mirrored_face_looks_the_other_way():
    from datamodules.media.picture import read_image
    from preprocessing.pose import detect_image

    picture = read_image(MEDIA / "images" / "echomimicv2_flux_man_0324.png")
    poses = [detect_image(one)[FACE, :2] * 1024 for one in (picture, cv2.flip(picture, 1))]
    one, other = (head_pose(face, 1024, 1024) for face in poses)
    np.testing.assert_allclose(one * (-1, 1, -1), other, atol=5)
