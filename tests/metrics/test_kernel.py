"""The kernel distance, held against loops in plain numpy."""

import numpy as np
import pytest
import torch

from metrics import KernelDistance


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    own = [
        sum(kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    return sum(own) - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.paper("MMGT-23")
def test_kvd_is_the_unbiased_cubic_kernel_distance_of_video_features():
    random = np.random.default_rng(0)
    x, y = random.normal(0, 1, (9, 5)), random.normal(0.7, 2, (12, 5))
    metric = KernelDistance(5)
    for part in np.array_split(x, 3):
        metric.update(torch.from_numpy(part), generated=True)
    metric.update(torch.from_numpy(y), generated=False)
    assert metric.compute().item() == pytest.approx(by_hand(x, y), rel=1e-9)
    assert np.isnan(KernelDistance(5).compute().item())
    with pytest.raises(ValueError, match=r"\(N, 5\)"):
        metric.update(torch.zeros(2, 4), generated=True)
