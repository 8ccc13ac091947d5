"""The head template: coefficients and pose to points, fitted to what is seen (CA-1)."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.chatanyone.head import EXPRESSIONS, IDENTITIES, INDICES, HeadTemplate
from models.chatanyone.head_fit import AWAY, NoHead, fit_head
from models.chatanyone.head_linear import SeenFace, linear_template
from models.chatanyone.head_smplx import smplx_template
from models.human.body_model import BodyModelError, load_body_model
from models.human.keypoints import CHIN, FACE, INNER_LIP_BOTTOM, INNER_LIP_TOP, LEFT_EYE_RIM, NOSE_RIDGE, lip_opening
from models.human.rotations import axis_angle_to_matrix
from tests.heads import OPEN, coefficients, face, keypoints, template
from tests.preprocessing.body_model_file import write_body_model


def seen(points: torch.Tensor) -> SeenFace:
    return SeenFace(points, torch.ones(points.shape[:2], dtype=torch.bool))


@pytest.mark.paper("CA-1")
def test_points_are_of_eyes_mouth_brows_and_contour():
    rows = set(INDICES)
    assert len(INDICES) == 17 + 10 + 12 + 20 == template().points
    assert {CHIN, INNER_LIP_TOP, LEFT_EYE_RIM.start} <= rows
    assert not rows & set(range(134)[NOSE_RIDGE])


@pytest.mark.paper("CA-1")
def test_points_follow_expression_rotation_and_translation():
    head = template()
    expression, pose, identity = coefficients(1)
    rest, still = torch.zeros_like(expression), torch.zeros_like(pose)
    middle = head(rest, still)
    assert middle.shape == (1, 59, 3)
    torch.testing.assert_close(head.landmarks(rest, still)[0], face())

    opened = rest.clone()
    opened[0, OPEN] = 2.0
    moved = head.landmarks(opened, still) - head.landmarks(rest, still)
    assert moved[0, INNER_LIP_BOTTOM - FACE.start, 1] == pytest.approx(0.04)
    assert not moved[0, 36:48].any()  # eyes do not open with the mouth

    placed = still.clone()
    placed[0, 3:5] = torch.tensor([0.4, 0.3])
    torch.testing.assert_close(head(rest, placed), middle + torch.tensor([0.4, 0.3, 0.0]))
    away = still.clone()
    away[0, 5] = head.distance  # twice as far: half as large
    torch.testing.assert_close(head(rest, away), middle / 2)

    turned = still.clone()
    turned[0, :3] = torch.tensor([0.0, 0.3, 0.0])
    torch.testing.assert_close(head(rest, turned), middle @ axis_angle_to_matrix(turned[:, :3]).mT)
    assert (head(rest, still, identity[None]) - middle).abs().max() > 1e-3


@pytest.mark.paper("CA-1")
@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_a_fit_finds_expression_and_pose_again(noise):
    head = template()
    expression, pose, identity = coefficients(60)
    points = head.landmarks(expression, pose, identity.expand(60, -1))[..., :2]
    points = points + noise * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    found = fit_head(head, *seen(points))
    assert found.error.max() < 0.0005 + 3 * noise
    close = 0.02 if noise == 0 else 0.25
    assert (found.pose[:, :3] - pose[:, :3]).abs().mean() < close
    assert np.corrcoef(found.expression[:, OPEN], expression[:, OPEN])[0, 1] > 0.98
    again = head.landmarks(found.expression, found.pose, found.identity.expand(60, -1))
    lips = lip_opening(keypoints(again[..., :2])["keypoints"])
    assert np.corrcoef(lips, lip_opening(keypoints(points)["keypoints"]))[0, 1] > 0.98


def test_frames_without_a_face_are_told_and_filled_from_their_neighbours():
    head = template()
    expression, pose, _ = coefficients(30)
    points, there = seen(head.landmarks(expression, pose)[..., :2])
    there[10:13] = False
    points[10:13] = float("nan")  # nothing of a point that was not found is read
    found = fit_head(head, points, there)
    assert (found.error[10:13] == -1).all()
    assert (found.error[:10] >= 0).all()
    steps = found.expression[9:14].diff(dim=0)
    torch.testing.assert_close(steps[0].expand(4, -1), steps, atol=1e-4, rtol=0)
    assert all(value.isfinite().all() for value in found)


def test_a_fit_names_what_is_no_head():
    head = template()
    expression, pose, _ = coefficients(20)
    points, there = seen(head.landmarks(expression, pose)[..., :2])
    with pytest.raises(NoHead, match="no head: no frame shows 40 of the 68"):
        fit_head(head, points, there & False)
    broken = points.clone()
    broken[3, 5] = float("nan")
    with pytest.raises(NoHead, match="not finite"):
        fit_head(head, broken, there)
    pose[:, 1] = np.deg2rad(AWAY + 20)
    with pytest.raises(NoHead, match="turned away"):
        fit_head(head, head.landmarks(expression, pose)[..., :2], there)
    with pytest.raises(NoHead, match="no clip has a frame"):
        linear_template([SeenFace(points, there & False)])
    with pytest.raises(ValueError, match="empty"):
        HeadTemplate()(expression, pose)
    with pytest.raises(ValueError, match=r"expression has to be \(\.\.\., 16\)"):
        head(expression[:, :3], pose)


@pytest.mark.paper("CA-1")
def test_the_linear_template_learns_the_directions_that_faces_move_in():
    head = template()
    clips = []
    for seed in range(6):
        expression, pose, identity = coefficients(50, seed)
        clips.append(seen(head.landmarks(expression, pose, (identity * (seed - 2.5)).expand(50, -1))[..., :2]))
    made = linear_template(clips)
    found = fit_head(made, *clips[1])
    assert found.error.mean() < 0.0015  # a face is a quarter of the frame's height here
    again = made.landmarks(found.expression, found.pose, found.identity.expand(50, -1))
    truth = lip_opening(keypoints(clips[1].points)["keypoints"])
    assert np.corrcoef(lip_opening(keypoints(again[..., :2])["keypoints"]), truth)[0, 1] > 0.99
    turns = coefficients(50, 1)[1][:, 1]
    assert np.corrcoef(found.pose[:, 1], turns)[0, 1] > 0.98
    # The first two directions hold what moves; rigid motion is in none.
    sizes = made.expressions.flatten(1).norm(dim=1)
    assert sizes[:2].square().sum() > 0.8 * sizes.square().sum()
    assert 0.8 < found.expression[:, 0].std() / 1.0 < 1.25  # in units of the usual spread


@pytest.mark.paper("CA-1")
def test_the_body_models_head_is_a_template_too(tmp_path):
    body = load_body_model(write_body_model(tmp_path / "SMPLX_NEUTRAL.npz"))
    made = smplx_template(body)
    assert made.kind == "smplx"
    rest, pose = torch.zeros(1, EXPRESSIONS), torch.zeros(1, 6)
    resting = made.landmarks(rest, pose)[0]
    assert resting[CHIN - FACE.start, 1] > resting[0, 1]  # y down
    nose, ear = resting[30], resting[0]
    assert nose[2] < ear[2]  # the nose is nearer to the camera than the ears
    jaw = rest.clone()
    jaw[0, 10] = 1.0  # behind the ten expressions of the file
    opened = made.landmarks(jaw, pose)[0] - resting
    assert opened[CHIN - FACE.start, 1] > 5 * opened[19, 1].abs()
    with pytest.raises(BodyModelError, match="contour"):
        smplx_template(load_body_model(write_body_model(tmp_path / "none.npz", contours=False)))


def test_a_template_is_saved_and_found_again(tmp_path):
    head = template()
    head.save_pretrained(tmp_path / "head")
    found = HeadTemplate.from_pretrained(tmp_path / "head")
    expression, pose, identity = coefficients(5)
    torch.testing.assert_close(
        found(expression, pose, identity.expand(5, -1)), head(expression, pose, identity.expand(5, -1))
    )
    assert set(load_file(tmp_path / "head" / "model.safetensors")) >= {"mean", "expressions", "identities"}
    assert found.identities.shape[0] == IDENTITIES
