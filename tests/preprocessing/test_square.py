"""Clips cut square: the person stays in the picture, and what was measured stays on the person."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import ClipInfo, check
from datamodules.media.files import encode_video, read_frames
from models.human.keypoints import FACE
from preprocessing.pipeline import process_video
from preprocessing.step import Draft, SourceFile
from preprocessing.videos.square import FACE_AT, Square, SquareCrop
from settings import ConfigError, build
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
    return Draft(info, encode_video(iter(frames), 25), 25, None, SourceFile(Path("a.mp4"), "a.mp4", Path()), arrays)


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


TALL = 16  # pixels from brows to chin
MIDDLE = (102.5, 30.0)  # of the spot over the clip


def with_face(tall: float = TALL, width: int = W, height: int = H) -> Draft:
    """The same clip with a face of that height about the spot."""
    clip = draft(width, height)
    across = np.linspace(-tall / 2, tall / 2, 68) / height
    clip.arrays["pose.npz"]["keypoints"][:, FACE, 1] = (30 / height) + across[None]
    return clip


def test_a_small_face_is_brought_as_close_as_asked():
    clip = with_face()
    SquareCrop(face=0.4)(clip)
    side = TALL / 0.4
    assert (clip.info.width, clip.info.height) == (side, side)
    assert next(iter(read_frames(clip.video))).shape == (side, side, 3)
    face = clip.arrays["pose.npz"]["keypoints"][:, FACE]
    np.testing.assert_allclose(np.ptp(face[..., 1], axis=1), 0.4, atol=0.01)
    middle = face.mean((0, 1))
    np.testing.assert_allclose(middle, (0.5, FACE_AT), atol=1.5 / side)
    np.testing.assert_allclose(face.mean(1) * side, spots(clip.video), atol=0.8)  # points stay on the picture
    for key, value in clip.arrays.items():
        check(key, value, clip.info)


def test_a_face_that_is_larger_gets_the_largest_square_and_never_more():
    clip = with_face(tall=50)
    SquareCrop(face=0.4)(clip)
    assert (clip.info.width, clip.info.height) == (H, H)


def test_a_square_clip_is_cut_closer_too_but_left_alone_where_it_is_close_enough():
    clip, close = with_face(width=W, height=W), with_face(tall=80, width=W, height=W)
    SquareCrop(face=0.4)(clip)
    assert (clip.info.width, clip.info.height) == (40, 40)
    before = close.video
    SquareCrop(face=0.4)(close)
    assert close.video is before
    assert close.info.width == W


def test_one_frame_with_a_wrong_face_does_not_make_the_square_larger():
    clip, wrong = with_face(), with_face()
    wrong.arrays["pose.npz"]["keypoints"][2, FACE.start, 1] = 1.0
    SquareCrop(face=0.4)(clip)
    SquareCrop(face=0.4)(wrong)
    assert wrong.info.height == clip.info.height


def test_a_face_seen_in_part_or_not_at_all():
    part, none = with_face(), with_face()
    part.arrays["pose.npz"]["scores"][:, FACE] *= np.arange(68) >= 34  # its lower half
    SquareCrop(face=0.4)(part)
    assert part.info.height == pytest.approx(TALL / 2 / 0.4, abs=2)
    none.arrays["pose.npz"]["scores"][:, FACE] = 0
    SquareCrop(face=0.4)(none)
    assert (none.info.width, none.info.height) == (H, H)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"face": 0.01}, "0.05 to 0.9"),
        ({"face": 35}, "0.05 to 0.9"),
        ({"face": 0.4, "around": "centre"}, "around=person"),
        ({"face": -0.4}, "face"),
        ({"face": float("nan")}, "face"),
    ],
)
def test_a_share_that_is_none_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        build(options, SquareCrop)


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
