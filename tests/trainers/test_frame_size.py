"""A file of poses without a picture: the video keeps the shape of the frames that the poses were found in."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from datamodules.media.files import write_video
from trainers.animation.files import write_poses
from trainers.animation.frame_size import PLAIN, frame_size
from trainers.animation.request import read_request

WORDS = "does not say the shape of its frames"


def pose(path: Path, **more: np.ndarray) -> Path:
    points = np.random.default_rng(0).uniform(0.3, 0.7, (1, 134, 2)).astype(np.float32)
    np.savez(path, keypoints=points, scores=np.ones((1, 134), np.float32), **more)
    return path


def clip_json(path: Path) -> None:
    path.with_name("a.clip.json").write_text(json.dumps({"height": 320, "width": 180}))


def video(path: Path) -> None:
    write_video(path.with_name("a.mp4"), iter(np.zeros((2, 96, 64, 3), np.uint8)), 25)


@pytest.mark.parametrize(
    ("name", "beside", "more", "expected"),
    [
        ("a.npz", None, {"size": np.array([640, 360])}, (640, 360)),
        ("a.npz", clip_json, {"size": np.array([640.0, 360.0])}, (640, 360)),
        ("a.pose.npz", clip_json, {}, (320, 180)),
        ("a.pose.npz", video, {}, (96, 64)),
        ("a.npz", video, {}, (96, 64)),
    ],
)
def test_the_shape_is_the_frames_own(name, beside, more, expected, tmp_path, caplog):
    path = pose(tmp_path / name, **more)
    if beside is not None:
        beside(path)
    assert frame_size(path) == expected
    assert WORDS not in caplog.text


@pytest.mark.parametrize("size", [None, [0, 0], [3], [[1, 2]], [np.nan, 2], ["a", "b"]])
def test_where_nothing_tells_it_a_square_is_drawn_and_said(size, tmp_path, caplog):
    path = pose(tmp_path / "alone.npz", **({} if size is None else {"size": np.array(size)}))
    (tmp_path / "alone.clip.json").write_text("{}")
    (tmp_path / "alone.mp4").write_bytes(b"no video")
    with caplog.at_level(logging.WARNING):
        assert frame_size(path) == PLAIN
    assert WORDS in caplog.text


def test_what_was_generated_keeps_its_shape_when_it_is_the_first_pose_again(tmp_path):
    import soundfile

    poses = np.random.default_rng(0).uniform(0.3, 0.7, (3, 134, 3)).astype(np.float32)
    write_poses(tmp_path / "out.npz", poses, (256, 144), 25.0)
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    for size, expected in ((None, (256, 144)), (128, (128, 72))):
        request = read_request(
            image=None, audio=tmp_path / "a.wav", pose=tmp_path / "out.npz", out=tmp_path / "b.mp4", size=size, seed=0,
            steps=None, guidance=None,
        )  # fmt: skip
        assert (request.height, request.width) == expected
