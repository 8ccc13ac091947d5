"""Motion masks on tensors, and at the levels of a UNet."""

import numpy as np
import pytest
import torch

from models.human import motion_masks as files
from models.human.keypoints import FACE, HANDS, LIPS, POINTS
from models.video.masks import REGIONS, mask_pyramid, masks_of, motion_masks, still

SIZES = [(64, 64), (32, 32), (16, 16), (8, 8)]


def poses(frames: int, spread: float = 0.3, seed: int = 0) -> torch.Tensor:
    pose = np.random.default_rng(seed).normal(0.5, spread, (frames, POINTS, 3)).astype(np.float32)
    pose[:, LIPS, :2] = 0.5 + 0.1 * (pose[:, LIPS, :2] - 0.5)
    return torch.from_numpy(pose)


def person(frames: int = 2) -> torch.Tensor:
    """(1, T, 134, 3): a face above, hands below, the mouth a tenth of the face."""
    pose = torch.full((frames, POINTS, 3), -1.0)
    random = torch.Generator().manual_seed(0)
    for part, centre, size in ((FACE, (0.5, 0.3), 0.2), (LIPS, (0.5, 0.36), 0.04), (HANDS, (0.5, 0.8), 0.2)):
        at = torch.rand(pose[:, part, :2].shape, generator=random)
        pose[:, part, :2] = torch.tensor(centre) + size * (at - 0.5)
    return pose[None]


@pytest.mark.paper("MMGT-13")
@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (1079, 607)])
def test_same_as_masks_of_files(spread, height, width):
    pose = poses(6, spread)
    pose[0, :40] = torch.tensor((-1.0, -1.0, 0.0))
    pose[1, FACE] = torch.nan
    pose[2, LIPS, 1] = 0.5  # a line has no area
    expected = files.motion_masks(pose.numpy(), height, width)
    found = motion_masks(pose[None], height, width)
    assert found.shape == (1, 6, 3, height, width)
    assert tuple(expected) == REGIONS
    for place, name in enumerate(REGIONS):
        np.testing.assert_array_equal(255 * found[0, :, place].numpy(), expected[name], err_msg=name)
    assert expected["lips"].any()


@pytest.mark.paper("MMGT-15")
def test_every_level_has_its_masks_blurred_and_normalised():
    levels = mask_pyramid(motion_masks(person(), 512, 512), SIZES)
    assert list(levels) == ["64x64", "32x32", "16x16", "8x8"]
    for (height, width), masks in zip(SIZES, levels.values(), strict=True):
        assert masks.shape == (1, 2, 3, height, width)
        assert masks.min() >= 0
        torch.testing.assert_close(masks.amax((-2, -1)), torch.ones(1, 2, 3), msg="lips of a fiftieth of the frame too")
        soft = (masks > 0.05) & (masks < 0.95)
        assert soft.any((-2, -1)).all(), "edges are soft"
    # What is at the middle of the face stays at one; far from face and hands there is background only.
    face, lips, background = levels["64x64"][0, 0]
    assert face[19, 32] > 0.99
    assert background[19, 32] < 0.01
    assert lips[23, 32] > 0.9
    assert face[2, 2] == lips[2, 2] == 0
    torch.testing.assert_close(background[2, 2], torch.tensor(1.0))


@pytest.mark.paper("MMGT-15")
def test_resized_by_area_and_blurred_at_the_level():
    masks = torch.zeros(1, 1, 3, 32, 32)
    masks[..., 16:, 16:17] = 1  # a line of one pixel: nearest neighbours would lose it or make it four times as wide
    level = mask_pyramid(masks, [(8, 8)], blur=0.05)["8x8"][0, 0, 0]
    kernel = torch.exp(-0.5 * (torch.arange(-2.0, 3) / 0.5) ** 2)
    row = torch.zeros(8)
    row[2:7] = kernel / kernel.max()
    torch.testing.assert_close(level[7], row)
    assert level[0].max() == 0


@pytest.mark.paper("MMGT-15")
@pytest.mark.parametrize("size", [(135, 76), (68, 38), (17, 10), (9, 5)])
def test_any_height_and_width(size):
    masks = motion_masks(person(), 1079, 607)
    torch.testing.assert_close(masks[:, :, 0] + masks[:, :, 2], torch.ones(1, 2, 1079, 607))
    level = mask_pyramid(masks, [size])[f"{size[0]}x{size[1]}"]
    assert level.shape == (1, 2, 3, *size)
    assert level.isfinite().all()
    row, column = (level[0, 0, 1] == 1).nonzero()[0].tolist()
    assert (row + 0.5) / size[0] == pytest.approx(0.36, abs=0.6 / size[0] + 0.02)
    assert (column + 0.5) / size[1] == pytest.approx(0.5, abs=0.6 / size[1] + 0.02)


@pytest.mark.paper("MMGT-15")
def test_without_a_face_all_is_background():
    masks = motion_masks(torch.full((1, 1, POINTS, 3), -1.0), 64, 64)
    for level in mask_pyramid(masks, [(16, 16), (8, 8)]).values():
        assert not level[:, :, :2].any()
        torch.testing.assert_close(level[:, :, 2], torch.ones_like(level[:, :, 2]))


@pytest.mark.paper("MMGT-24")
def test_what_the_ablations_leave_of_masks():
    masks = motion_masks(poses(6, 0.2).view(2, 3, POINTS, 3), 16, 24)
    assert torch.equal(masks_of("motion", masks), masks)
    assert torch.equal(masks_of("none", masks), torch.ones_like(masks))
    held = masks_of("still", masks, 2)
    assert all(torch.equal(held[:, frame], masks[:, 2]) for frame in range(3))
    assert not torch.equal(held, masks)
    own = still(masks, torch.tensor([0, 2]))
    assert torch.equal(own[0, 1], masks[0, 0])
    assert torch.equal(own[1, 1], masks[1, 2])
