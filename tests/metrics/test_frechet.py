"""The Frechet distance against an independent implementation."""

import numpy as np
import pytest
import scipy.linalg
import torch

from metrics import FrechetDistance


def reference(a: np.ndarray, b: np.ndarray) -> float:
    """With scipy's general matrix root, as the published code computes it."""
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root))


def measure(a: np.ndarray, b: np.ndarray) -> float:
    metric = FrechetDistance(a.shape[1])
    metric.update(torch.from_numpy(a), generated=True)
    metric.update(torch.from_numpy(b), generated=False)
    return metric.compute().item()


@pytest.fixture
def two_sets() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(200, 8)) @ random.normal(size=(8, 8)), random.normal(1, 2, size=(150, 8))


@pytest.mark.paper("MMGT-23")
def test_equals_scipy(two_sets):
    assert measure(*two_sets) == pytest.approx(reference(*two_sets), rel=1e-6)


def test_one_dimension_has_a_closed_form():
    random = np.random.default_rng(1)
    a, b = random.normal(0, 1, (500, 1)), random.normal(3, 2, (400, 1))
    by_hand = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert measure(a, b) == pytest.approx(by_hand)


def test_same_set_is_at_zero_also_with_fewer_samples_than_features():
    few = np.random.default_rng(2).normal(size=(5, 32))
    assert measure(few, few) == pytest.approx(0, abs=1e-9)


def test_parts_add_up_to_the_whole(two_sets):
    a, b = (torch.from_numpy(part) for part in two_sets)
    metric = FrechetDistance(8)
    for part in a.split(7):
        metric.update(part, generated=True)
    for part in b.split(50):
        metric.update(part, generated=False)
    assert metric.compute().item() == pytest.approx(measure(*two_sets))


def test_no_figure_from_one_sample_and_no_wrong_sizes():
    metric = FrechetDistance(4)
    metric.update(torch.zeros(1, 4), generated=True)
    metric.update(torch.zeros(9, 4), generated=False)
    assert metric.compute().isnan()
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        metric.update(torch.zeros(3, 5), generated=True)
