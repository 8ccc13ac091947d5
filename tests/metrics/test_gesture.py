"""FGD and Diversity on an encoder whose features are known."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from metrics import FGD, Diversity, FrechetDistance
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
