"""PSNR and SSIM against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metrics import PSNR, SSIM


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Two clips (5, 3, 24, 33) uint8, of which the second is the first with more noise from frame to frame."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, (5, 3, 24, 33))
    noise = random.normal(0, 1, truth.shape) * np.array([2, 5, 10, 20, 80])[:, None, None, None]
    return torch.from_numpy(np.clip(truth + noise, 0, 255).astype(np.uint8)), torch.from_numpy(truth.astype(np.uint8))


def measure(metric, *pairs):
    for generated, truth in pairs:
        metric.update(generated, truth)
    return metric.compute().item()


def structural(one: np.ndarray, other: np.ndarray) -> float:
    return structural_similarity(
        one, other, channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("VA-17")
@pytest.mark.paper("IM-19")
def test_psnr_equals_scikit_image_meaned_over_frames(clips):
    generated, truth = clips
    by_frame = [peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255) for a, b in zip(truth, generated)]
    assert measure(PSNR(), clips) == pytest.approx(np.mean(by_frame), abs=1e-6)
    assert np.ptp(by_frame) > 20  # so the mean of frames is not that of the clip's error


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("VA-17")
@pytest.mark.paper("IM-19")
def test_ssim_equals_scikit_image_meaned_over_frames(clips):
    generated, truth = clips
    by_frame = [structural(a.numpy(), b.numpy()) for a, b in zip(generated, truth)]
    assert measure(SSIM(), clips) == pytest.approx(np.mean(by_frame), abs=1e-6)


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_floats_and_bytes_give_one_figure(kind, clips):
    generated, truth = clips
    assert measure(kind(), (generated / 255, truth)) == pytest.approx(measure(kind(), clips), abs=1e-4)


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_every_frame_counts_the_same_whatever_clip_it_is_in(kind, clips):
    generated, truth = clips
    parts = (generated[:1], truth[:1]), (generated[1:], truth[1:])
    assert measure(kind(), *parts) == pytest.approx(measure(kind(), clips))


def test_equal_frames_are_finite_and_counted(clips):
    generated, truth = clips
    metric = PSNR()
    assert measure(metric, (truth, truth)) == 100
    assert metric.equal == 5
    metric.reset()
    assert measure(metric, (truth[:1], truth[:1]), (generated[:1], truth[:1])) < 75
    assert metric.equal == 1
    assert measure(SSIM(), (truth, truth)) == pytest.approx(1)


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_no_frames_no_figure(kind):
    assert kind().compute().isnan()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(4, 16, 16, 3), r"permute\(0, 3, 1, 2\)"),
        (torch.zeros(3, 16, 16), r"\(T, 3, height, width\)"),
        (torch.zeros(0, 3, 16, 16), r"\(T, 3, height, width\)"),
        (torch.full((4, 3, 16, 16), 200.0), r"lie in \[0, 1\]; these go from 200"),
        (torch.full((4, 3, 16, 16), -1.0), r"lie in \[0, 1\]"),
        (torch.full((4, 3, 16, 16), float("nan")), r"lie in \[0, 1\]"),
        (torch.zeros(4, 3, 16, 16, dtype=torch.int64), "uint8, or floats"),
        (torch.zeros(5, 3, 16, 16), "differ in shape"),
    ],
)
@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_wrong_frames_are_named(kind, frames, message):
    with pytest.raises(ValueError, match=message):
        kind().update(frames, torch.zeros(4, 3, 16, 16))


def test_frames_smaller_than_the_window_have_no_ssim():
    with pytest.raises(ValueError, match="11 x 11"):
        SSIM().update(torch.zeros(1, 3, 10, 30), torch.zeros(1, 3, 10, 30))
