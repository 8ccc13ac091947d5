"""Drawing body motion."""

import numpy as np
import pytest

from models.human.body import JOINTS, REST_JOINTS
from models.human.draw_joints import LEFT, RIGHT, draw_joints, project


def spots(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(n, 2) rows and columns of a colour."""
    return np.argwhere((picture == colour).all(-1))


def test_people_stand_side_by_side_on_their_feet_and_left_is_left():
    rest = REST_JOINTS.numpy()
    joints = np.stack([rest, rest])[:, None].repeat(3, 1)
    pictures = list(draw_joints(joints, 120))
    assert len(pictures) == 3
    assert pictures[0].shape == (120, 240, 3)
    assert np.array_equal(pictures[0][:, :120], pictures[0][:, 120:])
    left, right = spots(pictures[0][:, :120], LEFT), spots(pictures[0][:, :120], RIGHT)
    assert left[:, 1].mean() > 60 > right[:, 1].mean(), "seen from the front, the left hand is on the right"
    assert 85 < max(left[:, 0].max(), right[:, 0].max()) < 120, "feet below"


def test_the_camera_goes_with_the_first_person():
    rest = REST_JOINTS.numpy()
    real = np.stack([rest, rest + (1.0, 0, 0)])
    stray = np.stack([rest, rest + (2.0, 0, 0)])
    first, second = draw_joints(np.stack([real, stray]), 120)
    assert np.array_equal(spots(first[:, :120], LEFT), spots(second[:, :120], LEFT))
    assert not np.array_equal(spots(first[:, 120:], LEFT), spots(second[:, 120:], LEFT))


def test_up_is_up_and_what_is_far_away_or_nan_is_no_error():
    centre = np.zeros(3)
    assert project(np.array([0.0, 1, 0]), centre)[1] > project(np.array([0.0, 0, 0]), centre)[1]
    joints = np.full((1, 1, len(JOINTS), 3), 1e9)
    joints[..., 0, :] = np.nan
    assert next(draw_joints(joints, 64)).shape == (64, 64, 3)
    with pytest.raises(ValueError, match=r"\(2, 21, 3\)"):
        next(draw_joints(np.zeros((2, 21, 3)), 64))
