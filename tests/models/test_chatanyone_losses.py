"""Losses of the renderer's key points, by hand on small cases (CA-12)."""

import math

import pytest
import torch

from models.chatanyone.renderer_losses import (
    deformation_prior_loss,
    equivariance_loss,
    keypoint_prior_loss,
    landmark_loss,
)


@pytest.mark.paper("CA-12")
def test_equivariance_is_the_mean_distance_along_each_axis():
    detected = torch.tensor([[[[0.1, 0.2], [-0.3, 0.0]]]])
    returned = torch.tensor([[[[0.2, 0.2], [0.0, -0.4]]]])
    assert equivariance_loss(detected, returned).item() == pytest.approx((0.1 + 0 + 0.3 + 0.4) / 4)
    assert equivariance_loss(detected, detected) == 0


@pytest.mark.paper("CA-12")
def test_points_that_crowd_or_leave_their_depth_cost():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.4, 0.0], [3.0, 0.0, 0.0]])  # squared: 0.25, 9 and 7.45
    assert keypoint_prior_loss(points, 0.45).item() == pytest.approx(2 * (0.45 - 0.25) / 6)
    assert keypoint_prior_loss(points, 0.2) == 0
    assert keypoint_prior_loss(points + torch.tensor([0, 0, -0.3]), 0.2).item() == pytest.approx(0.3)
    assert keypoint_prior_loss(points + torch.tensor([0, 0, -0.3]), 0.2, depth=-0.3).item() == pytest.approx(
        0, abs=1e-6
    )
    deep = torch.tensor([[0.0, 0.0, 0.5], [1.0, 0.0, -0.5]])  # it is the mean depth that counts
    assert keypoint_prior_loss(deep, 0.2) == 0
    assert keypoint_prior_loss(points[:1], 0.2) == 0
    both = torch.stack([points, points + torch.tensor([0, 0, 0.4])])
    assert keypoint_prior_loss(both, 0.2).item() == pytest.approx(0.2), "the mean over frames"


@pytest.mark.paper("CA-12")
def test_moves_cost_their_size():
    movement, offset = torch.tensor([[[0.1, -0.3, 0.2]]]), torch.tensor([[[0.0, 0.4, 0.2]]])
    assert deformation_prior_loss(movement, offset).item() == pytest.approx(0.2 + 0.2)
    assert deformation_prior_loss(movement[:, :0], offset).item() == pytest.approx(0.2)
    assert deformation_prior_loss(movement[:, :0]) == 0


@pytest.mark.paper("CA-12")
def test_landmarks_draw_points_by_the_wing_loss():
    points = torch.tensor([[[[0.1, 0.0], [0.5, -0.5], [0.3, 0.3]]]])
    landmarks = torch.tensor([[[[0.0, 0.0], [0.0, -0.5], [-1.0, -1.0]]]])
    seen = torch.tensor([[[True, True, False]]])
    near, far = 0.2 * math.log(1 + 0.1 / 0.04), 0.5 - 0.2 + 0.2 * math.log(1 + 0.2 / 0.04)
    assert landmark_loss(points, landmarks, seen).item() == pytest.approx((near + far) / 4)
    assert landmark_loss(points, landmarks, torch.zeros_like(seen)) == 0
    two = torch.cat([points, points]), torch.cat([landmarks, landmarks]), torch.cat([seen, ~seen])
    other = sum(abs(0.3 + 1) - 0.2 + 0.2 * math.log(1 + 0.2 / 0.04) for _ in range(2)) / 2
    assert landmark_loss(*two).item() == pytest.approx(((near + far) / 4 + other) / 2), "each sample counts the same"


def test_a_landmark_that_is_not_seen_has_no_gradient():
    points = torch.zeros(1, 1, 2, 2, requires_grad=True)
    landmarks = torch.tensor([[[[0.3, 0.3], [torch.nan, -1.0]]]])
    landmark_loss(points, landmarks, torch.tensor([[[True, False]]])).backward()
    assert points.grad.isfinite().all()
    assert points.grad[0, 0, 0].any()
    assert not points.grad[0, 0, 1].any()
