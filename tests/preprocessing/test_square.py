"""Clips cut square: the person stays in the picture, and what was measured stays on the person."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import ClipInfo, check
from datamodules.media import encode_video, read_frames
from models.human.keypoints import FACE
from preprocessing.pipeline import process_video
from preprocessing.square import Square, SquareCrop
from preprocessing.step import Draft, Source
from tests.preprocessing.clips import write_clip

T, W, H = 6, 160, 80
SPOT = np.array([(100 + t, 30) for t in range(T)])  # pixels: a face that moves to the right


def draft(width: int = W, height: int = H) -> Draft:
    """A clip with a white spot, where all face points, the boxes' corners and a landmark are."""
    frames = np.full((T, height, width, 3), 40, np.uint8)
    for t, (x, y) in enumerate(SPOT):
        frames[t, y - 2 : y + 3, x - 2 : x + 3] = 255
    at = ((SPOT + 0.5) / (width, height)).astype(np.float32)
    keypoints = np.full((T, 134, 2), -1, np.float32)
    keypoints[:, FACE] = at[:, None]
    scores = np.where(keypoints[..., 0] >= 0, 1, 0).astype(np.float32)
    info = ClipInfo(id="a", source="a.mp4", end=T / 25, fps=25, frames=T, width=width, height=height)
    arrays = {
        "pose.npz": {"keypoints": keypoints, "scores": scores},
        "face.npz": {
            "boxes": np.concatenate([at, at], 1), "lip_boxes": np.full((T, 4), -1, np.float32),
            "landmarks": np.concatenate([at, np.full((T, 1), 0.1, np.float32)], 1)[:, None],
            "scores": np.ones(T, np.float32),
            "blink": np.zeros(T, np.float32), "head_pose": np.zeros((T, 3), np.float32),
        },
    }  # fmt: skip
    return Draft(info, encode_video(iter(frames), 25), 25, None, Source(Path("a.mp4"), "a.mp4", Path()), arrays)


def spots(video: bytes) -> np.ndarray:
    """(T, 2): the middle of the bright pixels of every frame."""
    found = []
    for frame in read_frames(video):
        y, x = np.nonzero(frame.mean(-1) > 150)
        found.append((x.mean() + 0.5, y.mean() + 0.5))
    return np.array(found)


def test_points_boxes_and_landmarks_stay_on_the_picture():
    clip = draft()
    SquareCrop()(clip)
    assert (clip.info.width, clip.info.height) == (H, H)
    seen = spots(clip.video)
    assert next(iter(read_frames(clip.video))).shape == (H, H, 3)
    np.testing.assert_allclose(seen[:, 0].mean(), H / 2, atol=1)  # the face stands in the middle
    for value in (
        clip.arrays["pose.npz"]["keypoints"][:, 40],
        clip.arrays["face.npz"]["boxes"][:, :2],
        clip.arrays["face.npz"]["boxes"][:, 2:],
        clip.arrays["face.npz"]["landmarks"][:, 0, :2],
    ):
        np.testing.assert_allclose(value * H, seen, atol=0.6)
    np.testing.assert_allclose(clip.arrays["face.npz"]["landmarks"][..., 2], 0.2)  # in widths of the new picture
    assert (clip.arrays["pose.npz"]["keypoints"][:, 0] == -1).all(), "a missing point stays missing"
    assert (clip.arrays["face.npz"]["lip_boxes"] == -1).all()
    for key, value in clip.arrays.items():
        check(key, value, clip.info)


def test_a_camera_goes_along():
    """A point in space is seen at the same pixel before and after."""
    clip = draft()
    clip.arrays["smplx.npz"] = {"camera": np.array([1.2, 0.5, 0.25], np.float32)}
    SquareCrop()(clip)
    focal, x, y = clip.arrays["smplx.npz"]["camera"]
    left = 102.5 + 0.5 - H / 2
    assert focal * H == pytest.approx(1.2 * W)
    assert x * H + left == pytest.approx(0.5 * W, abs=1)
    assert y * H == pytest.approx(0.25 * W, abs=1)


def test_the_middle_without_a_face_and_on_request():
    clip, other = draft(), draft()
    del clip.arrays["pose.npz"]
    SquareCrop()(clip)
    SquareCrop(around="centre")(other)
    assert clip.video == other.video
    assert spots(other.video)[0, 0] == pytest.approx(100.5 - (W - H) / 2, abs=0.6)


def test_a_square_clip_is_left_as_it_is():
    clip = draft(W, W)
    before = clip.video
    SquareCrop()(clip)
    assert clip.video is before


def test_squares_stay_inside_the_picture():
    assert Square.around(300, 100, (5, 50)) == (0, 0, 100)
    assert Square.around(300, 100, (299, 50)) == (200, 0, 100)
    assert Square.around(100, 300) == (0, 100, 100)


def test_size_is_the_side_of_the_square(tmp_path: Path):
    path = write_clip(tmp_path / "wide.mp4", seconds=1, height=96, width=160)
    bare = {
        "pose": "mediapipe",
        "face": "off",
        "quality": "off",
        "speech": [],
        "scenes": "off",
        "min_clip_seconds": 0.5,
    }
    for size, side in ((64, 64), (512, 96)):
        (clip,) = process_video(path, crop={"name": "square", "around": "centre"}, size=size, **bare)
        assert isinstance(clip, Draft)
        assert (clip.info.width, clip.info.height) == (side, side)
        assert next(iter(clip.frames())).shape == (side, side, 3)
