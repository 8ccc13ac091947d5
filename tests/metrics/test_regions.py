"""PSNR and SSIM inside boxes, against scikit-image on what the boxes cut out."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metrics import PSNR, SSIM, RegionPSNR, RegionSSIM
from metrics.regions import part_boxes, region_mask
from models.human.keypoints import LEFT_HAND, LIPS, RIGHT_HAND

MISSING = [-1.0, -1.0, -1.0, -1.0]


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, (3, 3, 40, 50))
    noisy = np.clip(truth + random.normal(0, 20, truth.shape), 0, 255)
    return torch.from_numpy(noisy.astype(np.uint8)), torch.from_numpy(truth.astype(np.uint8))


def boxes(*pixels: list[float]) -> torch.Tensor:
    """One box a frame, from pixels of a 40 x 50 frame to fractions."""
    rows = [row if row == MISSING else (np.array(row) / [50, 40, 50, 40]).tolist() for row in pixels]
    return torch.tensor(rows, dtype=torch.float64)[:, None]


def measure(metric, *arguments):
    metric.update(*arguments)
    return metric.compute().item()


@pytest.mark.paper("IM-19")
def test_psnr_of_a_box_is_that_of_the_picture_cut_out(clips):
    generated, truth = clips
    region = boxes([10, 5, 30, 25], [0, 0, 50, 40], [20, 20, 21, 40])
    by_frame = [
        peak_signal_noise_ratio(truth[t, :, y0:y1, x0:x1].numpy(), generated[t, :, y0:y1, x0:x1].numpy())
        for t, (x0, y0, x1, y1) in enumerate([(10, 5, 30, 25), (0, 0, 50, 40), (20, 20, 21, 40)])
    ]
    assert measure(RegionPSNR(dilation=0), generated, truth, region) == pytest.approx(np.mean(by_frame), abs=1e-6)


@pytest.mark.paper("IM-19")
def test_ssim_of_a_box_is_the_mean_of_its_windows(clips):
    generated, truth = clips
    region = boxes([10, 8, 30, 25], [6, 6, 20, 20], [7, 30, 44, 34])
    values = []
    for t, (x0, y0, x1, y1) in enumerate([(10, 8, 30, 25), (6, 6, 20, 20), (7, 30, 44, 34)]):
        _, whole = structural_similarity(
            generated[t].numpy(),
            truth[t].numpy(),
            channel_axis=0,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        values.append(whole[:, y0:y1, x0:x1].mean())
    assert measure(RegionSSIM(dilation=0), generated, truth, region) == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize(("inside", "whole"), [(RegionPSNR, PSNR), (RegionSSIM, SSIM)])
def test_a_mask_of_everything_gives_the_figure_of_the_frame(inside, whole, clips):
    assert measure(inside(), *clips, torch.ones(3, 40, 50)) == pytest.approx(measure(whole(), *clips), abs=1e-9)


@pytest.mark.parametrize("kind", [RegionPSNR, RegionSSIM])
def test_what_lies_outside_does_not_matter(kind, clips):
    generated, truth = clips
    region = boxes(*[[15, 15, 30, 25]] * 3)
    ruined = generated.clone()
    ruined[:, :, :, 40:] = 0
    assert measure(kind(), ruined, truth, region) == pytest.approx(measure(kind(), generated, truth, region))
    ruined[:, :, 15:25, 15:30] = 0
    assert measure(kind(), ruined, truth, region) < measure(kind(), generated, truth, region)


def test_a_frame_without_the_region_counts_apart(clips):
    generated, truth = clips
    metric = RegionPSNR(dilation=0)
    only = measure(metric, generated, truth, boxes(MISSING, [10, 5, 30, 25], [float("nan"), 0, 1, 1]))
    assert metric.unseen == 2
    assert only == pytest.approx(
        peak_signal_noise_ratio(truth[1, :, 5:25, 10:30].numpy(), generated[1, :, 5:25, 10:30].numpy())
    )
    metric.reset()
    assert np.isnan(measure(metric, generated, truth, boxes(MISSING, MISSING, MISSING)))


def test_weights_of_a_mask_weigh_the_errors(clips):
    generated, truth = clips
    weights = torch.zeros(3, 40, 50)
    weights[:, 10, 10], weights[:, 20, 20] = 1.0, 0.5
    errors = ((generated.double() - truth.double()) / 255).square().mean(1)
    expected = -10 * ((errors[:, 10, 10] + 0.5 * errors[:, 20, 20]) / 1.5).log10()
    assert measure(RegionPSNR(), generated, truth, weights) == pytest.approx(expected.mean().item())


def test_boxes_are_joined_dilated_and_cut_at_the_frame():
    two = torch.tensor([[[0.1, 0.1, 0.3, 0.2], [0.2, 0.15, 0.4, 0.3]]])
    mask = region_mask(two, 20, 10)
    assert mask.sum() == 2 * 2 + 2 * 3 - 1  # x 1:3 of y 2:4, x 2:4 of y 3:6, one pixel in both
    grown = region_mask(torch.tensor([[[0.2, 0.4, 0.6, 0.6]]]), 10, 10, dilation=0.5)
    assert grown[0].nonzero().amin(0).tolist() == [3, 0]
    assert grown[0].nonzero().amax(0).tolist() == [6, 7]
    assert region_mask(torch.tensor([[[0.9, 0.9, 1.4, 1.4]]]), 10, 10).sum() == 1
    assert not region_mask(torch.tensor([[[0.5, 0.5, 0.5, 0.9]]]), 10, 10).any()


def test_a_thin_box_still_holds_the_pixels_that_it_touches():
    assert region_mask(torch.tensor([[[0.51, 0.51, 0.52, 0.52]]]), 10, 10)[0].nonzero().tolist() == [[5, 5]]


def test_part_boxes_span_the_points_that_are_there():
    pose = torch.zeros(2, 134, 3)
    pose[..., :2] = -1
    pose[0, LIPS] = torch.tensor([0.5, 0.5, 1.0])
    pose[0, LIPS.start] = torch.tensor([0.4, 0.6, 0.2])
    pose[0, LEFT_HAND.start] = torch.tensor([0.1, 0.2, 1.0])
    found = part_boxes(pose, (LIPS, LEFT_HAND, RIGHT_HAND))
    assert found[0, 0].tolist() == pytest.approx([0.4, 0.5, 0.5, 0.6])
    assert found[0, 1].tolist() == pytest.approx([0.1, 0.2, 0.1, 0.2])
    assert found[0, 2].tolist() == MISSING
    assert (found[1] == -1).all()


def test_reconstruction_and_copy_of_the_source_are_told_apart():
    """What the measure is for: a copied first frame is fine but for the mouth."""
    random = np.random.default_rng(1)
    truth = np.repeat(random.integers(0, 200, (1, 3, 64, 64)), 8, 0)
    truth[:, :, 40:48, 24:40] = random.integers(0, 255, (8, 3, 8, 16))
    rebuilt = truth + random.normal(0, 6, truth.shape)
    copied = truth[:1] + 0 * truth
    mouth = torch.tensor([[[24 / 64, 40 / 64, 40 / 64, 48 / 64]]]).expand(8, 1, 4)
    frames = {name: torch.from_numpy(np.clip(values, 0, 255) / 255) for name, values in locals().items() if name in
              ("truth", "rebuilt", "copied")}  # fmt: skip
    inside = {name: measure(RegionPSNR(), frames[name], frames["truth"], mouth) for name in ("rebuilt", "copied")}
    assert inside["rebuilt"] > inside["copied"] + 3


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.zeros(3, 4), "a region is boxes"),
        (torch.zeros(2, 1, 4), "a region is boxes"),
        (torch.zeros(3, 50, 40), "a region is boxes"),
        (torch.full((3, 40, 50), 255), "mask > 0"),
    ],
)
def test_wrong_regions_are_named(region, message, clips):
    with pytest.raises(ValueError, match=message):
        RegionPSNR().update(*clips, region)


def test_boxes_are_never_made_smaller():
    with pytest.raises(ValueError, match="0 or more"):
        RegionPSNR(dilation=-0.1)
