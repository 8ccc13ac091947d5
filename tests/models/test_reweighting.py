"""Parts-aware re-weighting: reliable key points, areas, weights."""

import pytest
import torch

from models.human.keypoints import BODY, FACE, FEET, LEFT_HAND, RIGHT_WRIST
from models.paha.reweighting import RADIUS, part_weights

SIDE = 64  # of latents, where the frame has 512: a latent is 8 pixels


def nobody(frames: int = 1) -> torch.Tensor:
    return torch.zeros(1, frames, 134, 3)


def weights(pose: torch.Tensor, side: int = SIDE, **options) -> torch.Tensor:
    output = part_weights(pose, side, side, **options)
    assert output.shape == (1, 1, pose.shape[1], side, side)
    return output[0, 0]


@pytest.mark.paper("PH-9")
@pytest.mark.parametrize("score", [0.0, 0.5, 0.8])
def test_without_a_reliable_key_point_every_place_counts_one(score):
    pose = torch.rand(1, 3, 134, 3, generator=torch.Generator().manual_seed(0))
    pose[..., 2] = score
    assert torch.equal(weights(pose), torch.ones(3, SIDE, SIDE))
    pose[:, 1, FACE, 2] = 0.81
    changed = (weights(pose) != 1).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]


@pytest.mark.paper("PH-6")
@pytest.mark.parametrize(("points", "counts"), [(FACE, 10), (LEFT_HAND, 10), (BODY, 2), (FEET, 2)])
def test_face_and_hands_have_circles_and_the_body_a_rectangle(points, counts):
    pose = nobody()
    pose[0, 0, points] = torch.tensor([0.25, 0.5, 1.0])
    pose[0, 0, points.start, :2] = torch.tensor([0.75, 0.25])
    found = weights(pose, 512)[0]
    between = found[192, 256]  # inside the rectangle, far from both circles
    assert between == (2 if counts == 2 else 1)
    # Many points lie at one place: what covers it is capped. A circle smoothed over half of its radius keeps
    # 1 - exp(-2) in its middle.
    assert found[254, 130] == pytest.approx(10 * (1 - 2.718**-2) if counts == 10 else 2, rel=0.08)
    assert found.max() <= counts
    assert found[400, 400] == 1


@pytest.mark.paper("PH-7")
@pytest.mark.parametrize("side", [256, 512])
def test_a_circle_has_ten_pixels_at_512_and_grows_with_the_frame(side):
    pose = nobody()
    pose[0, 0, LEFT_HAND.start] = torch.tensor([0.5, 0.5, 0.9])
    output = part_weights(pose, side, side)[0, 0, 0]
    area = (output > 1).float().sum().sqrt() / side
    assert area.item() == pytest.approx((torch.pi**0.5) * RADIUS, rel=0.1)
    rows = (output > 1).any(1).nonzero().flatten()
    assert (rows[-1] + 1 - rows[0]).item() / side == pytest.approx(2 * 10 / 512, abs=1.01 / 256)


@pytest.mark.paper("PH-8")
def test_scores_of_covering_points_add_up_to_one_at_most_unless_asked():
    pose = nobody()
    pose[0, 0, FACE.start : FACE.start + 3] = torch.tensor([0.5, 0.5, 0.9])
    one = nobody()
    one[0, 0, FACE.start] = torch.tensor([0.5, 0.5, 0.9])
    middle = (0, 256, 256)
    single, three, uncapped = weights(one, 512)[middle], weights(pose, 512)[middle], weights(pose, 512, capped=False)
    assert three / single == pytest.approx(1 / 0.9, rel=1e-4)
    assert uncapped[middle] / single == pytest.approx(3, rel=1e-4)
    assert 7 < single < 9
    # Smoothed: less at the rim than in the middle, and never less than outside.
    assert 1 < weights(one, 512)[0, 256, 256 + 8] < single


@pytest.mark.paper("PH-8")
def test_a_part_inside_the_body_never_counts_less_than_the_body():
    pose = nobody()
    pose[0, 0, BODY] = torch.tensor([0.2, 0.2, 1.0])
    pose[0, 0, RIGHT_WRIST] = torch.tensor([0.8, 0.8, 1.0])
    plain = weights(pose, 512)
    pose[0, 0, LEFT_HAND.start] = torch.tensor([0.5, 0.5, 0.9])
    with_hand = weights(pose, 512)
    assert (with_hand >= plain).all()
    assert with_hand[0, 256, 256] > 7
    assert (plain[0, 110:400, 110:400] == 2).all()


def test_the_grid_of_latents_keeps_the_mean_and_oblong_frames_their_shape():
    pose = torch.rand(1, 2, 134, 3, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.3
    pose[..., 2] = 0.95
    fine, coarse = (part_weights(pose, *size) for size in ((80, 128), (40, 64)))
    assert fine.shape == (1, 1, 2, 80, 128)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(fine[0], 2), coarse[0])
    hand = nobody()
    hand[0, 0, LEFT_HAND.start] = torch.tensor([0.75, 0.25, 0.9])
    touched = (part_weights(hand, 80, 128)[0, 0, 0] > 1).nonzero().float().mean(0)
    assert touched.tolist() == pytest.approx([19.5, 95.5], abs=0.6)


def test_points_outside_the_frame_or_without_a_place_do_no_harm():
    pose = nobody()
    pose[0, 0, FACE] = torch.tensor([1.3, -0.2, 0.95])
    pose[0, 0, LEFT_HAND] = torch.tensor([-1.0, -1.0, 0.0])
    assert torch.equal(weights(pose), torch.ones(1, SIDE, SIDE))
