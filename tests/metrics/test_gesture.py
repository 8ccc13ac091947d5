"""FGD and Diversity on an encoder whose features are known."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from metrics import FGD, TGD, Diversity, FrechetDistance
from metrics.gesture import cut_windows


class FirstFrame(nn.Module):
    """An encoder whose feature is the nose of the first frame, so that figures can be worked out by hand."""

    window, features = 8, 2

    def encode(self, windows: torch.Tensor) -> torch.Tensor:
        return windows[:, 0, 0, :2]


@pytest.fixture
def clips() -> list[torch.Tensor]:
    return [torch.rand(20, 134, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]


def test_windows_cover_the_clip_to_its_end():
    clip = torch.arange(21.0)[:, None, None].expand(21, 134, 3)
    windows = cut_windows(clip, 8)
    assert windows[:, 0, 0, 0].tolist() == [0, 4, 8, 12, 13]
    assert windows[-1, -1, 0, 0] == 20
    short = cut_windows(clip[:5], 8)
    assert short[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


@pytest.mark.paper("MMGT-23")
def test_fgd_is_the_frechet_distance_of_features(clips):
    metric, by_hand = FGD(FirstFrame()), FrechetDistance(2)
    for index, clip in enumerate(clips):
        metric.update(clip, generated=index < 3)
        by_hand.update(clip[[0, 4, 8, 12], 0, :2].float(), generated=index < 3)
    assert metric.compute().item() == pytest.approx(by_hand.compute().item())
    metric.reset()
    assert metric.compute().isnan()


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("IM-19")
def test_diversity_is_the_mean_distance_of_all_pairs(clips):
    metric = Diversity(FirstFrame())
    for clip in clips:
        metric.update(clip)
    features = np.concatenate([clip[[0, 4, 8, 12], 0, :2].numpy() for clip in clips])
    pairs = [np.linalg.norm(a - b) for a, b in itertools.combinations(features, 2)]
    assert metric.compute().item() == pytest.approx(np.mean(pairs), rel=1e-6)


def test_one_repeated_gesture_has_no_diversity(clips):
    metric = Diversity(FirstFrame())
    metric.update(clips[0][:1].expand(40, 134, 3))
    assert metric.compute().item() == pytest.approx(0, abs=1e-6)
    assert Diversity(FirstFrame()).compute().isnan()


@pytest.mark.paper("IM-19")
def test_tgd_is_the_frechet_distance_of_steps_between_windows(clips):
    metric, by_hand = TGD(FirstFrame()), FrechetDistance(2)
    for index, clip in enumerate(clips):
        metric.update(clip[: 18 + index % 2], generated=index < 3)  # what does not fill half a window more is not used
        by_hand.update(clip[[4, 8], 0, :2] - clip[[0, 4], 0, :2], generated=index < 3)
    assert metric.compute().item() == pytest.approx(by_hand.compute().item())
    assert metric.truth_count == 6


@pytest.mark.paper("IM-19")
def test_tgd_sees_the_order_of_gestures_and_fgd_does_not():
    """A hand that goes round, and the same windows in disorder."""
    angle = 2 * np.pi * np.arange(400) / 40
    pose = torch.zeros(400, 134, 3)
    pose[:, 0, 0], pose[:, 0, 1] = torch.from_numpy(np.cos(angle)), torch.from_numpy(np.sin(angle))
    windows = cut_windows(pose, 8, 4)
    disorder = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))]
    figures = {}
    for kind in (FGD, TGD):
        for name, generated in (("same", windows), ("disorder", disorder), ("still", windows[:1].expand_as(windows))):
            metric = kind(FirstFrame())
            metric.update(generated, generated=True)
            metric.update(windows, generated=False)
            figures[kind, name] = metric.compute().item()
    assert figures[FGD, "same"] == pytest.approx(0, abs=1e-6)
    assert figures[TGD, "same"] == pytest.approx(0, abs=1e-6)
    assert figures[FGD, "disorder"] == pytest.approx(0, abs=1e-6)
    assert figures[TGD, "disorder"] > 0.1
    assert figures[TGD, "still"] > 0.1


def test_a_clip_of_one_window_has_no_step(clips):
    metric = TGD(FirstFrame())
    metric.update(clips[0][:11], generated=True)
    metric.update(clips[0][:5], generated=True)
    assert metric.generated_count == 0
    metric.update(clips[0][:12], generated=True)
    assert metric.generated_count == 1
