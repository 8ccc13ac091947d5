"""Clips cut to an oblong frame: its size, where it stands, what goes along, and people who do not fit."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import ClipInfo, check
from datamodules.media.files import encode_video, read_frames
from models.human.keypoints import FACE, LEFT_HAND, LEFT_WRIST
from preprocessing.step import Draft, Drop, SourceFile
from preprocessing.videos.frame import FrameCrop

T, W, H = 4, 160, 112
SPOT = (104, 30)  # pixels: where a white spot is, and all of the face


def draft(width: int = W, height: int = H, elbow: float = 120.0, hand: float | None = None) -> Draft:
    """A clip of somebody whose face is a white spot, elbows at its sides, one hand at `hand` pixels from the left."""
    frames = np.full((T, height, width, 3), 40, np.uint8)
    frames[:, SPOT[1] - 2 : SPOT[1] + 3, SPOT[0] - 2 : SPOT[0] + 3] = 255
    points = np.full((T, 134, 2), -1.0)
    points[:, FACE], points[:, [0, 14, 15]] = SPOT, (SPOT,)
    points[:, 2], points[:, 5] = (SPOT[0] - 10, 50), (SPOT[0] + 10, 50)
    points[:, 3], points[:, 6] = (2 * SPOT[0] - elbow, 80), (elbow, 80)
    if hand is not None:
        points[:, LEFT_HAND], points[:, LEFT_WRIST] = (hand, 90), (hand, 90)
    seen = points[..., 0] > -1
    points[seen] = (points[seen] + 0.5) / (width, height)
    info = ClipInfo(id="a", source="a.mp4", end=T / 25, fps=25, frames=T, width=width, height=height)
    arrays = {"pose.npz": {"keypoints": points.astype(np.float32), "scores": seen.astype(np.float32)}}
    return Draft(info, encode_video(iter(frames), 25), 25, None, SourceFile(Path("a.mp4"), "a.mp4", Path()), arrays)


def spot(video: bytes) -> np.ndarray:
    """The middle of the bright pixels of the first frame, across and down."""
    y, x = np.nonzero(next(iter(read_frames(video))).mean(-1) > 150)
    return np.array([x.mean() + 0.5, y.mean() + 0.5])


def test_the_frame_is_the_largest_of_its_shape_around_the_person():
    clip = draft()
    FrameCrop(512, 896)(clip)
    assert (clip.info.width, clip.info.height) == (64, 112)
    assert next(iter(read_frames(clip.video))).shape == (112, 64, 3)
    assert spot(clip.video)[0] == pytest.approx(32, abs=1)
    face = clip.arrays["pose.npz"]["keypoints"][:, 40] * (64, 112)
    np.testing.assert_allclose(face, np.tile(spot(clip.video), (T, 1)), atol=0.6)
    assert (clip.arrays["pose.npz"]["keypoints"][:, LEFT_WRIST] == -1).all(), "a missing point stays missing"
    check("pose.npz", clip.arrays["pose.npz"], clip.info)


def test_a_larger_picture_is_made_smaller_to_the_very_size():
    clip = draft()
    FrameCrop(32, 56)(clip)
    assert (clip.info.width, clip.info.height) == (32, 56)
    face = clip.arrays["pose.npz"]["keypoints"][:, 40] * (32, 56)
    np.testing.assert_allclose(face, np.tile(spot(clip.video), (T, 1)), atol=0.6)


def test_hands_are_in_it_where_they_fit_and_give_way_to_the_body_where_not():
    near, far = draft(hand=140), draft(hand=158)
    FrameCrop(512, 896)(near)
    assert 0 < near.arrays["pose.npz"]["keypoints"][0, LEFT_WRIST, 0] < 1
    assert near.arrays["pose.npz"]["keypoints"][0, 3, 0] > 0, "the other elbow, too"
    FrameCrop(512, 896)(far)
    assert far.arrays["pose.npz"]["keypoints"][0, LEFT_WRIST, 0] > 1
    assert far.arrays["pose.npz"]["keypoints"][0, 0, 0] == pytest.approx(0.5, abs=0.02)


def test_a_person_who_does_not_fit_is_dropped_with_the_figure():
    clip = draft(elbow=150)
    with pytest.raises(Drop) as caught:
        FrameCrop(512, 896)(clip)
    assert caught.value.reason == "partial_body"
    assert "in 0% of the frames" in caught.value.detail
    assert clip.figures["inside"] == 0
    kept = draft(elbow=150)
    FrameCrop(512, 896, min_inside=0)(kept)
    assert kept.info.width == 64


def test_a_lying_frame_keeps_the_head():
    clip = draft(height=320)
    FrameCrop(896, 200, min_inside=0)(clip)
    assert (clip.info.width, clip.info.height) == (160, 34)
    assert 0 < clip.arrays["pose.npz"]["keypoints"][0, 40, 1] < 1


def test_a_picture_of_the_shape_and_one_without_a_person():
    clip, empty = draft(), draft()
    before = clip.video
    FrameCrop(W, H)(clip)
    assert clip.video is before
    del empty.arrays["pose.npz"]
    FrameCrop(512, 896)(empty)
    assert spot(empty.video)[0] == pytest.approx(SPOT[0] + 0.5 - (W - 64) / 2, abs=0.6)
