"""Distances of motion against plain numpy, and their units."""

import numpy as np
import pytest
import torch

from metrics import AccelerationError, MissedPoints, PoseError, VelocityError

ASPECT, FPS = 0.5, 25.0


@pytest.fixture
def two() -> tuple[torch.Tensor, torch.Tensor]:
    """Two clips of 6 frames with some points missing in either."""
    random = np.random.default_rng(0)
    poses = random.uniform(0.1, 1, size=(2, 6, 134, 3))
    poses[0, 2, 5], poses[1, 4, 7] = (-1, -1, 0), (-1, -1, 0)
    return torch.from_numpy(poses[0]), torch.from_numpy(poses[1])


def by_hand(generated: torch.Tensor, truth: torch.Tensor, order: int) -> float:
    """Point by point, frame by frame."""
    values = []
    for point in range(134):
        for frame in range(order, 6):
            frames = range(frame - order, frame + 1)
            if any(pose[t, point, 2] <= 0 for pose in (generated, truth) for t in frames):
                continue
            tracks = [pose[list(frames), point, :2].numpy() * [ASPECT, 1] for pose in (generated, truth)]
            change = [np.diff(track, order, axis=0)[0] * FPS**order for track in tracks]
            values.append(np.linalg.norm(change[0] - change[1]))
    return float(np.mean(values))


def test_pose_error_is_in_squared_frame_heights(two):
    metric = PoseError()
    metric.update(*two, aspect=ASPECT)
    there = (two[0][..., 2] > 0) & (two[1][..., 2] > 0)
    gap = ((two[0] - two[1])[..., :2] * torch.tensor([ASPECT, 1.0])).square().sum(-1)
    assert metric.compute().item() == pytest.approx(gap[there].mean().item())


@pytest.mark.parametrize(("metric", "order"), [(VelocityError, 1), (AccelerationError, 2)])
def test_velocity_and_acceleration_equal_numpy(two, metric, order):
    measure = metric()
    measure.update(*two, fps=FPS, aspect=ASPECT)
    assert measure.compute().item() == pytest.approx(by_hand(*two, order))


def test_a_shifted_copy_moves_alike(two):
    truth = two[1].clone()
    shifted = truth.clone()
    shifted[..., :2] += 0.1
    velocity, pose = VelocityError(), PoseError()
    velocity.update(shifted, truth, fps=FPS)
    pose.update(shifted, truth)
    assert velocity.compute().item() == pytest.approx(0, abs=1e-9)
    assert pose.compute().item() == pytest.approx(0.02)


def test_points_left_out_are_counted_and_cost_no_distance(two):
    truth = two[1].clone()
    partly = truth.clone()
    partly[:, 10:] = torch.tensor([-1.0, -1.0, 0.0])
    error, missed = PoseError(), MissedPoints()
    error.update(partly, truth)
    missed.update(partly, truth)
    assert error.compute() == 0
    assert missed.compute().item() == pytest.approx(124 * 6 / (134 * 6 - 1), abs=2e-3)


def test_other_shapes_are_refused(two):
    with pytest.raises(ValueError, match="differ in shape"):
        PoseError().update(two[0][:5], two[1])
    with pytest.raises(ValueError, match="x, y, score"):
        PoseError().update(two[0][..., :2], two[1][..., :2])
    assert PoseError().compute().isnan()
