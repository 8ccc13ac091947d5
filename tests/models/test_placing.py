"""Poses put onto the person in a picture of any scale: sized by what both show, else by how people are built."""

import pytest
import torch
from torch import Tensor

from models.human.keypoints import FACE, LEFT_SHOULDER, NECK, NOSE, POINTS, RIGHT_SHOULDER
from models.human.placing import measures, neck_of, onto_person, usual
from models.human.projection import project_joints
from models.human.retarget import BONES, lengths_of, retarget, target_of
from tests.models.test_token2pose import waving

HEAD = [NOSE, 14, 15, 16, 17]
WHOLE_HEAD = [*HEAD, *range(FACE.start, FACE.stop)]
LEGS = [9, 10, 12, 13, 18, 19, 20, 21, 22, 23]
EARS = 160.0
"""Pixels between the ears of the person in the picture."""


def moving(faces: bool = False) -> tuple[Tensor, Tensor]:
    """Poses of somebody who moves arms and head, in metres, whose face is seen where asked for."""
    keypoints, scores = project_joints(waving(4))
    keypoints[:, [NOSE, 14, 15, 16, 17], 0] += 0.05 * torch.sin(torch.arange(20.0))[:, None]
    if faces:
        g = torch.Generator().manual_seed(0)
        keypoints[:, FACE] = keypoints[:, [NOSE]] + 0.05 * torch.randn(68, 2, generator=g)
        scores[:, FACE] = 1
    return keypoints, scores


def only(scores: Tensor, points: list[int]) -> Tensor:
    """Scores of these points alone."""
    shown = torch.zeros_like(scores)
    shown[..., points] = scores[..., points]
    return shown


def head() -> tuple[Tensor, Tensor]:
    """A face that fills a picture of 400 pixels."""
    g = torch.Generator().manual_seed(1)
    own, scores = torch.full((POINTS, 2), -400.0), torch.zeros(POINTS)
    own[HEAD] = torch.tensor([(0.0, 0.0), (-0.27, -0.22), (0.27, -0.22), (-0.5, -0.1), (0.5, -0.1)]) * EARS + 200
    own[FACE] = 200 + EARS * 0.42 * torch.nn.functional.normalize(torch.randn(68, 2, generator=g))
    scores[WHOLE_HEAD] = 1
    return own, scores


@pytest.mark.paper("VA-16")
def test_a_head_alone_follows_poses_without_faces_by_usual_proportions():
    keypoints, scores = moving()
    # Ears and eyes would be lengths in common.
    scores = only(scores, [point for point in range(24) if point not in HEAD[1:]])
    own, own_scores = head()
    placed = onto_person(keypoints, scores, own, own_scores)
    assert placed.how == "by usual proportions"
    nose = placed.keypoints[:, NOSE]
    torch.testing.assert_close(nose.mean(0), own[NOSE], atol=1e-2, rtol=0)
    wide = (placed.keypoints[:, LEFT_SHOULDER] - placed.keypoints[:, RIGHT_SHOULDER]).norm(dim=-1).max()
    assert 2.2 * EARS < wide < 2.8 * EARS, "shoulders are two and a half times as far apart as ears"
    scale = wide / (keypoints[:, LEFT_SHOULDER] - keypoints[:, RIGHT_SHOULDER]).norm(dim=-1).max()
    moved, before = (points - points.mean(0) for points in (nose, keypoints[:, NOSE]))
    torch.testing.assert_close(moved, before * scale, atol=2.0, rtol=0)
    lowest = own[FACE, 1].max()
    assert placed.keypoints[:, NECK, 1].mean() > lowest, "a neck that is not seen is not drawn into the face"
    assert torch.equal(placed.scores, scores)


@pytest.mark.paper("VA-16")
def test_what_both_show_of_a_head_tells_the_size_before_proportions_do():
    keypoints, scores = moving()
    own, own_scores = head()
    placed = onto_person(keypoints, scores, own, only(own_scores, HEAD))
    assert placed.how == "by lengths"
    ears = (placed.keypoints[:, 16] - placed.keypoints[:, 17]).norm(dim=-1)
    assert ears.max() == pytest.approx(EARS, rel=0.1)
    torch.testing.assert_close(placed.keypoints[:, NOSE].mean(0), own[NOSE], atol=1e-2, rtol=0)


@pytest.mark.paper("VA-16")
def test_faces_of_poses_come_where_the_picture_s_is():
    own, own_scores = head()
    placed = onto_person(*moving(faces=True), own, own_scores)
    assert placed.how == "by lengths"
    torch.testing.assert_close(placed.keypoints[:, NOSE].mean(0), own[NOSE], atol=1e-2, rtol=0)
    have, want = measures(placed.keypoints, placed.scores), measures(own[None], own_scores[None])
    torch.testing.assert_close(have[len(BONES)], want[len(BONES)], rtol=0.01, atol=0)


@pytest.mark.paper("VA-16")
def test_a_head_that_poses_never_show_goes_along_with_the_neck():
    keypoints, scores = moving()
    body = only(scores, [point for point in range(24) if point not in HEAD])
    own, own_scores = head()
    placed = onto_person(keypoints, body, own, own_scores)
    assert placed.how == "by usual proportions"
    assert (placed.scores[:, WHOLE_HEAD] == 1).all()
    offsets = placed.keypoints[:, WHOLE_HEAD] - placed.keypoints[:, [NECK]]
    expected = (own[WHOLE_HEAD] - neck_of(own, own_scores)).expand_as(offsets)
    torch.testing.assert_close(offsets, expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(placed.keypoints[:, WHOLE_HEAD].mean(0), own[WHOLE_HEAD], atol=1e-2, rtol=0)
    body[7:9, NECK] = 0
    lost = onto_person(keypoints, body, own, own_scores)
    assert (lost.scores[7:9][:, WHOLE_HEAD] == 0).all(), "where no neck is, no head is known"


@pytest.mark.paper("VA-16")
def test_poses_of_which_nothing_is_in_the_picture_leave_the_person_still():
    keypoints, scores = moving()
    own, own_scores = head()
    for shown in (only(scores, LEGS), torch.zeros_like(scores)):
        placed = onto_person(keypoints, shown, own, own_scores)
        assert placed.how == "still"
        assert torch.equal(placed.keypoints, own.expand(len(keypoints), -1, -1))
        assert torch.equal(placed.scores, own_scores.expand(len(keypoints), -1))


def test_a_picture_without_a_head_and_without_anything_in_common_is_refused():
    keypoints, scores = moving()
    own, own_scores = head()
    with pytest.raises(ValueError, match="shows no head, and no bone, face or hand that the poses have"):
        onto_person(keypoints, scores, own, torch.zeros_like(own_scores))
    with pytest.raises(ValueError, match="shows no head"):
        onto_person(keypoints, only(scores, LEGS), keypoints[0], only(scores[0], [2, 3, 4, 5]))


@pytest.mark.paper("VA-10")
def test_whoever_shows_the_neck_gets_the_mean_neck_there():
    keypoints, scores = moving()
    own, own_scores = keypoints[0] * 200 + 300, scores[0]
    source = lengths_of(keypoints, scores)
    expected = retarget(keypoints, scores, target_of(own, own_scores, source), own[NECK], source)
    placed = onto_person(keypoints, scores, own, own_scores)
    torch.testing.assert_close(placed.keypoints, expected, atol=1e-2, rtol=0)
    assert placed.how == "by lengths"
    half = only(own_scores, [point for point in range(POINTS) if point not in LEGS])
    torch.testing.assert_close(
        onto_person(keypoints, scores, own, half).keypoints[:, NECK].mean(0), own[NECK], atol=1e-2, rtol=0
    )


def test_a_person_who_shows_one_side_is_sized_by_the_other_side_of_the_poses():
    keypoints, scores = moving()
    own = keypoints[0] * 200 + 300
    left, right = only(scores[0], [5, 6, 7, NOSE]), only(scores, [2, 3, 4, NOSE])
    assert onto_person(keypoints, right, own, left).how == "by lengths"


def test_usual_people_are_as_people_are():
    """In metres; a hand and a face do not follow from the skeleton."""
    found = usual()
    assert found.isfinite().all()
    assert found[0] == pytest.approx(0.22, abs=0.01)
    face, left, right, eyes, ears = found[len(BONES) :].tolist()
    assert 0.06 < face < 0.08
    assert left == right == pytest.approx(0.0935, abs=0.001)
    assert 0.08 < eyes < 0.1 < 0.15 < ears < 0.2
