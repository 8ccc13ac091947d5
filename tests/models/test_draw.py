"""Drawing poses."""

import numpy as np
import pytest

from models.human.draw import COLOURS, FACE_DOT, HAND_JOINT, draw_box, draw_pose, draw_poses
from models.human.keypoints import FACE, LEFT_HAND, LEFT_SHOULDER, NECK, NOSE


def nowhere() -> np.ndarray:
    pose = np.full((134, 3), -1.0)
    pose[:, 2] = 0
    return pose


def test_nothing_is_drawn_of_a_missing_person():
    assert not draw_pose(nowhere(), 64, 48).any()
    assert draw_pose(nowhere(), 64, 48).shape == (64, 48, 3)


def test_joint_limb_hand_and_face_have_dwposes_colours():
    pose = nowhere()
    pose[NECK], pose[LEFT_SHOULDER] = (0.5, 0.5, 1), (0.75, 0.5, 1)
    pose[FACE.start], pose[LEFT_HAND.start] = (0.5, 0.25, 1), (0.25, 0.25, 1)
    picture = draw_pose(pose, 512, 512)
    assert tuple(picture[256, 256]) == COLOURS[NECK]
    assert tuple(picture[256, 384]) == COLOURS[LEFT_SHOULDER]
    assert tuple(picture[256, 320]) == tuple(int(0.6 * c) for c in COLOURS[1]), "the second limb, darkened"
    assert tuple(picture[128, 256]) == FACE_DOT
    assert tuple(picture[128, 128]) == HAND_JOINT


@pytest.mark.parametrize("score", [0.0, 0.29, np.nan])
def test_points_below_the_threshold_are_left_out(score):
    pose = nowhere()
    pose[NOSE] = (0.5, 0.5, score)
    assert not draw_pose(pose, 64, 64).any()
    pose[NOSE, 2] = 0.3
    assert draw_pose(pose, 64, 64).any()


@pytest.mark.parametrize("place", [(np.nan, 0.5), (np.inf, 0.5), (1e12, 0.5), (-3.0, 1.2)])
def test_points_far_outside_do_no_harm(place):
    pose = nowhere()
    pose[:, 2] = 1
    pose[:, :2] = 0.5
    pose[NOSE, :2], pose[FACE.start, :2], pose[LEFT_HAND.start, :2] = place, place, place
    assert draw_pose(pose, 64, 64).any()


def test_background_is_drawn_over_and_left_as_it_was():
    background = np.full((32, 32, 3), 7, np.uint8)
    pose = nowhere()
    pose[NOSE] = (0.5, 0.5, 1)
    picture = draw_pose(pose, 32, 32, background)
    assert (background == 7).all()
    assert (picture[0, 0] == 7).all()
    assert (picture[16, 16] == COLOURS[NOSE]).all()
    with pytest.raises(ValueError, match="resize"):
        draw_pose(pose, 64, 64, background)


def test_a_sequence_is_drawn_frame_by_frame():
    poses = np.random.default_rng(0).uniform(0.2, 0.8, (3, 134, 3))
    frames = list(draw_poses(poses, 32, 32))
    assert all((frame == draw_pose(pose, 32, 32)).all() for frame, pose in zip(frames, poses, strict=True))


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(2, 134, 3\)"):
        draw_pose(np.zeros((2, 134, 3)), 32, 32)


def test_box():
    picture = np.zeros((100, 100, 3), np.uint8)
    framed = draw_box(picture, np.array([0.2, 0.3, 0.6, 0.7]), (1, 2, 3))
    assert tuple(framed[30, 40]) == (1, 2, 3)
    assert tuple(framed[50, 40]) == (0, 0, 0)
    assert not picture.any()
    assert not draw_box(picture, np.array([-1, -1, -1, -1]), (1, 2, 3)).any()
