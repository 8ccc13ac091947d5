"""SMGA's loss."""

import pytest
import torch

from models.losses.motion import motion_loss
from models.mmgt.loss import smga_loss
from models.mmgt.pose_space import face_channels

B, T = 2, 6
FACE = face_channels()


def everything_known() -> torch.Tensor:
    return torch.ones(B, T, 402, dtype=torch.bool)


@pytest.mark.paper("MMGT-10")
def test_position_velocity_and_acceleration():
    predicted, truth = torch.randn(B, T, 402), torch.randn(B, T, 402)
    error = predicted - truth
    expected = error.square().mean() + error.diff(dim=1).square().mean() + error.diff(n=2, dim=1).square().mean()
    torch.testing.assert_close(motion_loss(predicted, truth, everything_known()), expected)


@pytest.mark.paper("MMGT-10")
def test_three_times_the_face_and_once_the_body_each_over_its_own_points():
    predicted, truth = torch.randn(B, T, 402), torch.randn(B, T, 402)
    losses = smga_loss(predicted, truth, everything_known())
    face = motion_loss(predicted[..., FACE], truth[..., FACE], everything_known()[..., FACE])
    body = motion_loss(predicted[..., ~FACE], truth[..., ~FACE], everything_known()[..., ~FACE])
    torch.testing.assert_close(losses["loss_face"], face * 68 / 67)
    torch.testing.assert_close(losses["loss_body"], body * 66 / 67)
    torch.testing.assert_close(losses["loss"], 3 * losses["loss_face"] + losses["loss_body"])


@pytest.mark.paper("MMGT-10")
def test_an_error_of_a_face_point_weighs_three_times_that_of_a_body_point():
    """Sums over 68 and 66 points, as the paper has them; two plain means would make it 2.91 times."""
    predicted = torch.zeros(B, T, 402, requires_grad=True)
    smga_loss(predicted, torch.ones(B, T, 402), everything_known())["loss"].backward()
    face, body = predicted.grad[..., FACE], predicted.grad[..., ~FACE]
    torch.testing.assert_close(face, face[0, 0, 0].expand_as(face))
    assert (face[0, 0, 0] / body[0, 0, 0]).item() == pytest.approx(3, rel=1e-5)


@pytest.mark.paper("MMGT-24")
def test_without_face_loss():
    predicted, truth = torch.randn(B, T, 402, requires_grad=True), torch.randn(B, T, 402)
    losses = smga_loss(predicted, truth, everything_known(), face_loss="off")
    losses["loss"].backward()
    assert not predicted.grad[..., FACE].any()
    assert predicted.grad[..., ~FACE].all()
    torch.testing.assert_close(losses["loss"], losses["loss_body"])


@pytest.mark.paper("MMGT-24")
def test_a_general_loss_is_one_over_all_key_points():
    predicted, truth, known = torch.randn(B, T, 402), torch.randn(B, T, 402), everything_known()
    known[0, :, :9] = False
    losses = smga_loss(predicted, truth, known, face_loss="general")
    torch.testing.assert_close(losses["loss"], motion_loss(predicted, truth, known))
    assert losses["loss_face"] > 0


def test_what_is_not_known_does_not_count():
    truth, known = torch.randn(B, T, 402), everything_known()
    known[0, 3, 10:20] = False
    predicted = truth.clone()
    predicted[~known] += 100
    assert smga_loss(predicted, truth, known)["loss"] == 0
    predicted[1, 3, 10] += 1
    assert smga_loss(predicted, truth, known)["loss"] > 0
    assert smga_loss(predicted, truth, torch.zeros_like(known))["loss"] == 0, "no NaN where nothing is known"


def test_weights_are_of_samples():
    predicted, truth = torch.randn(B, T, 402), torch.randn(B, T, 402)
    only = smga_loss(predicted, truth, everything_known(), weight=torch.tensor([2.0, 0.0]))
    first = smga_loss(predicted[:1], truth[:1], everything_known()[:1])
    torch.testing.assert_close(only["loss"], first["loss"])


@pytest.mark.parametrize("length", [1, 2])
def test_sequences_too_short_for_a_velocity(length):
    assert torch.isfinite(
        motion_loss(torch.randn(1, length, 4), torch.zeros(1, length, 4), torch.ones(1, length, 4).bool())
    )
