"""SMGA's pose space: 402 channels a frame, there and back, missing points."""

import pytest
import torch

from models.human.keypoints import POINTS
from models.mmgt.pose_space import PoseSpace
from tests.models.small import poses, statistics


@pytest.mark.paper("MMGT-2")
def test_402_channels_are_x_y_score_of_each_point_with_x_and_y_in_minus_one_to_one():
    space = PoseSpace("pose")
    pose = torch.zeros(1, 1, POINTS, 3)
    pose[..., 2] = 0.5
    pose[0, 0, 0] = torch.tensor([0.0, 1.0, 0.25])
    pose[0, 0, 133] = torch.tensor([0.5, 0.75, 1.0])
    x0, known = space.encode(pose, pose[:, 0])
    assert x0.shape == (1, 1, 402)
    assert x0[0, 0, :3].tolist() == [-1.0, 1.0, 0.25]
    assert x0[0, 0, -3:].tolist() == [0.0, 0.5, 1.0]
    assert known.all()
    assert space.condition(pose[:, 0])[0, :3].tolist() == [-1.0, 1.0, 0.25]


@pytest.mark.parametrize("predict", ["pose", "offset"])
def test_pose_space_there_and_back(predict):
    space = PoseSpace(predict)
    space.set_statistics(statistics())
    pose = poses()
    x0, known = space.encode(pose, pose[:, 0])
    torch.testing.assert_close(space.decode(x0, pose[:, 0]), pose)
    assert known.all()
    if predict == "offset":
        assert not x0[:, 0].any(), "the first frame is no distance from itself"


@pytest.mark.parametrize("predict", ["pose", "offset"])
def test_missing_points_are_unknown_and_stay_finite(predict):
    space = PoseSpace(predict)
    pose = poses()
    pose[:, 4:6, 7] = torch.tensor([-1.0, -1.0, 0.0])
    x0, known = space.encode(pose, pose[:, 0])
    known = known.unflatten(-1, (POINTS, 3))
    assert not known[:, 4:6, 7, :2].any()
    assert known[:, 4:6, 7, 2].all(), "that a point is missing is known"
    assert known[:, :4].all()
    assert x0.abs().max() < 20
    shown = space.hide_faint(space.decode(x0, pose[:, 0]))
    assert shown[0, 4, 7].tolist() == [-1, -1, 0]


def test_offset_leaves_out_what_the_first_pose_lacks():
    space = PoseSpace("offset")
    pose = poses()
    pose[:, 0, 9] = torch.tensor([-1.0, -1.0, 0.0])
    x0, known = space.encode(pose, pose[:, 0])
    assert not known.unflatten(-1, (POINTS, 3))[:, :, 9].any()
    assert not x0.unflatten(-1, (POINTS, 3))[:, :, 9].any()
    shown = space.hide_faint(space.decode(torch.randn_like(x0), pose[:, 0]))
    assert (shown[:, :, 9] == torch.tensor([-1.0, -1.0, 0.0])).all()
