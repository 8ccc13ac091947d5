"""Motion masks of Algorithm 1."""

import numpy as np
import pytest

from models.human.keypoints import FACE, LEFT_HAND, LIPS, RIGHT_HAND
from models.human.motion_masks import motion_masks, region_mask

H, W = 40, 60


def by_the_paper(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Algorithm 1 word for word, one frame and region."""
    mask = np.zeros((height, width), np.uint8)
    min_x, min_y, max_x, max_y = width, height, 0, 0
    for point in points:
        x, y = int(float(point[0]) * width), int(float(point[1]) * height)
        if x > 0 and y > 0:
            min_x, min_y, max_x, max_y = min(min_x, x), min(min_y, y), max(max_x, x), max(max_y, y)
    if min_x < max_x and min_y < max_y:
        mask[min_y:max_y, min_x:max_x] = 255
    return mask


@pytest.mark.paper("MMGT-13")
@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_same_as_algorithm_1_for_points_anywhere(spread):
    generator = np.random.default_rng(0)
    points = generator.normal(0.5, spread, (50, 4, 2)).astype(np.float32)
    expected = np.stack([by_the_paper(frame, H, W) for frame in points])
    np.testing.assert_array_equal(region_mask(points, H, W), expected)
    assert expected.any()


@pytest.mark.paper("MMGT-13")
def test_points_on_the_left_and_upper_edge_and_missing_ones_do_not_count():
    points = np.array([[[0.0, 0.5], [0.5, 0.0], [-1, -1], [0.01, 0.9], [0.5, 0.5], [0.75, 0.75]]])
    mask = region_mask(points, H, W)[0]
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (20, 30, 30, 45)
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.paper("MMGT-13")
@pytest.mark.parametrize(
    "points",
    [
        [[0.5, 0.5]],  # a single point has no extent
        [[0.2, 0.5], [0.8, 0.5]],  # a horizontal line
        [[0.5, 0.2], [0.5, 0.8]],  # a vertical line
        [[-1, -1], [-1, -1]],  # nothing there
        [[np.nan, 0.5], [0.5, np.nan]],
    ],
)
def test_all_zero_where_the_box_has_no_area(points):
    assert not region_mask(np.array([points]), H, W).any()


@pytest.mark.paper("MMGT-13")
def test_face_and_each_hand_have_boxes_of_their_own_and_background_is_the_rest():
    pose = np.full((2, 134, 3), -1.0)
    pose[:, FACE] = np.random.default_rng(1).uniform(0.4, 0.6, (2, 68, 3))
    pose[:, LIPS] = np.random.default_rng(2).uniform(0.45, 0.55, (2, 20, 3))
    pose[0, LEFT_HAND] = np.random.default_rng(3).uniform(0.8, 0.9, (21, 3))
    pose[0, RIGHT_HAND] = np.random.default_rng(4).uniform(0.1, 0.2, (21, 3))
    masks = motion_masks(pose, H, W)
    for frame in range(2):
        parts = [by_the_paper(pose[frame, region], H, W) for region in (FACE, LEFT_HAND, RIGHT_HAND)]
        np.testing.assert_array_equal(masks["face_hands"][frame], np.maximum.reduce(parts))
        np.testing.assert_array_equal(masks["lips"][frame], by_the_paper(pose[frame, LIPS], H, W))
    np.testing.assert_array_equal(masks["background"], 255 - masks["face_hands"])
    assert masks["face_hands"][0, H // 4, W // 3] == 0, "one box over both hands would cover the space between them"
    assert all(mask.dtype == np.uint8 and mask.shape == (2, H, W) for mask in masks.values())


def test_a_single_frame_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"\(134, 3\)"):
        motion_masks(np.zeros((134, 3)), H, W)
