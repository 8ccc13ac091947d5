"""Head pose errors, worked out by hand."""

import numpy as np
import pytest
import torch

from metrics import HeadPoseError

NAN = [float("nan")] * 3


def measure(generated, truth) -> HeadPoseError:
    metric = HeadPoseError()
    metric.update(torch.tensor(generated), torch.tensor(truth))
    return metric


@pytest.mark.paper("IM-19")
def test_is_the_mean_absolute_difference_of_the_angles():
    metric = measure([[10.0, 0.0, -5.0], [0.0, 4.0, 0.0]], [[12.0, 1.0, -5.0], [0.0, -2.0, 3.0]])
    assert metric.angles().tolist() == pytest.approx([1, 3.5, 1.5])
    assert metric.compute().item() == pytest.approx(2)


@pytest.mark.parametrize(("one", "other", "apart"), [(179, -179, 2), (-170, 175, 15), (180, -180, 0), (350, -10, 0)])
def test_goes_the_short_way_round(one, other, apart):
    assert measure([[float(one), 0.0, 0.0]], [[float(other), 0.0, 0.0]]).angles()[0].item() == pytest.approx(apart)
    assert measure([[float(other), 0.0, 0.0]], [[float(one), 0.0, 0.0]]).angles()[0].item() == pytest.approx(apart)


def test_missing_heads_are_left_out_and_counted():
    metric = measure([[1.0, 1.0, 1.0], NAN, [9.0, 9.0, 9.0], NAN], [[0.0] * 3, [0.0] * 3, NAN, NAN])
    assert metric.compute().item() == pytest.approx(1)
    assert (metric.frames, metric.missed, metric.unseen) == (1, 1, 2)
    assert measure([NAN], [NAN]).compute().isnan()


def test_frames_count_alike_over_clips():
    metric = HeadPoseError()
    metric.update(np.full((3, 3), 4.0), np.zeros((3, 3)))
    metric.update(np.zeros((1, 3)), np.zeros((1, 3)))
    assert metric.compute().item() == pytest.approx(3)


@pytest.mark.parametrize("shape", [(3,), (4, 2), (5, 3)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match="yaw, pitch, roll"):
        HeadPoseError().update(torch.zeros(shape), torch.zeros(4, 3))


def test_angles_that_are_none_are_named():
    with pytest.raises(ValueError, match="degrees"):
        measure([[1000.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]])
