"""Pictures of hands, and how the generator takes them in (CA-3, CA-10)."""

import pytest
import torch
from torch import Tensor

from models.chatanyone.hands import HandInjection, hand_images
from tests.models.filled import filled

HEIGHT, WIDTH = 48, 64


def straight(x: float = 0.25, side: int = 0, score: float = 0.9) -> Tensor:
    """One hand at x whose fingers all point straight down from the wrist, (1, 42, 3)."""
    hands = torch.zeros(1, 42, 3)
    hands[..., :2] = -1
    one = hands[:, 21 * side : 21 * (side + 1)]
    one[..., 0], one[..., 1], one[..., 2] = x, 0.25, score
    for joint in range(1, 21):
        one[:, joint, 1] = 0.25 + 0.1 * ((joint - 1) % 4 + 1)
    return hands


@pytest.mark.paper("CA-3")
def test_hands_are_drawn_where_the_frame_has_them():
    picture = hand_images(straight(), HEIGHT, WIDTH)
    assert picture.shape == (1, 3, HEIGHT, WIDTH)
    drawn = picture[0, 0] > 0
    assert drawn[20, 16]  # on the fingers: y = 0.25 to 0.65 of 48 rows, x = 0.25 of 64 columns
    assert not drawn[:, 24:].any()
    assert not drawn[:10].any()
    assert not drawn[34:].any()
    rows = drawn.any(1).nonzero().flatten()
    assert 11 <= rows.min() <= 12
    assert 31 <= rows.max() <= 32


@pytest.mark.paper("CA-3")
def test_limbs_are_shaded_as_rods_are():
    """0.14 of the palm's length (0.1 of the height here) is a finger's radius; the middle is brighter than the edge."""
    picture = hand_images(straight(), 480, 640)[0]
    across = picture[0, 170, 140:180]  # the radius is 0.14 x 48 pixels
    offset = (torch.arange(140, 180) + 0.5 - 160) / (0.14 * 48)
    by_hand = (1 - offset.square()).clamp(min=0).sqrt()
    torch.testing.assert_close(across, by_hand, atol=1e-3, rtol=0)


@pytest.mark.paper("CA-3")
def test_fingers_and_sides_can_be_told_apart():
    hands = straight(0.25) + torch.zeros(1, 42, 3)
    hands[:, 21:] = straight(0.75, side=1)[:, 21:]
    for finger in range(5):  # spread apart
        hands[:, 1 + 4 * finger : 5 + 4 * finger, 0] += 0.08 * (finger - 2)
    picture = hand_images(hands, 480, 640)[0]
    left, right = picture[2, :, :320], picture[2, :, 320:]
    assert left.unique().tolist() == [0.0, 1.0]
    assert right.unique().tolist() == [0.0, 0.5]
    tips = [picture[1, int(480 * 0.64), int(640 * (0.25 + 0.08 * (finger - 2)))].item() for finger in range(5)]
    assert tips == sorted(tips)
    assert len({round(tip, 2) for tip in tips}) == 5


@pytest.mark.paper("CA-3")
def test_a_hand_that_is_not_seen_is_not_drawn():
    assert not hand_images(straight(score=0.1), HEIGHT, WIDTH).any()
    assert not hand_images(torch.full((1, 42, 3), -1.0), HEIGHT, WIDTH).any()
    lost = straight()
    lost[:, 5:9, 2] = 0.0  # one finger
    assert hand_images(lost, HEIGHT, WIDTH).any()
    lost[:, 0] = torch.nan
    assert hand_images(lost, HEIGHT, WIDTH).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 21, 3), (1, 42, 2), (42, 3)])
def test_other_points_are_refused(shape):
    with pytest.raises(ValueError, match="21 points of each hand"):
        hand_images(torch.zeros(shape), HEIGHT, WIDTH)


@pytest.mark.paper("CA-10")
def test_injection_is_equation_5():
    torch.manual_seed(0)
    layer = filled(HandInjection(channels=6, width=4))
    features, picture = torch.randn(2, 6, 12, 16), hand_images(straight(), HEIGHT, WIDTH).expand(2, -1, -1, -1)
    small = torch.nn.functional.avg_pool2d(picture, 4)
    x = torch.nn.functional.silu(layer.mix(torch.nn.functional.silu(layer.enter(small))))
    scale, shift = layer.last(x).chunk(2, 1)
    mean, std = features.mean((2, 3), keepdim=True), features.std((2, 3), keepdim=True, unbiased=False)
    by_hand = features + scale * (features - mean) / std + shift
    torch.testing.assert_close(layer(features, picture), by_hand, atol=1e-4, rtol=1e-4)


@pytest.mark.paper("CA-10")
def test_an_empty_picture_adds_nothing_at_all():
    torch.manual_seed(0)
    layer = filled(HandInjection(channels=6, width=4))
    features = torch.randn(2, 6, 12, 16)
    assert torch.equal(layer(features, torch.zeros(2, 3, HEIGHT, WIDTH)), features)


@pytest.mark.paper("CA-10")
def test_hands_change_the_features_about_them_alone():
    torch.manual_seed(0)
    layer = filled(HandInjection(channels=6, width=4))
    features, picture = torch.randn(1, 6, HEIGHT, WIDTH), hand_images(straight(), HEIGHT, WIDTH)
    changed = (layer(features, picture) - features).abs().sum(1)[0]
    assert changed[20, 16] > 1e-3
    assert not changed[:, 26:].any()


def test_training_begins_with_nothing_brought_in():
    features = torch.randn(1, 6, 12, 16)
    layer = HandInjection(channels=6, width=4)
    assert torch.equal(layer(features, hand_images(straight(), HEIGHT, WIDTH)), features)
