"""R-precision and MultiModality against what plain numpy says."""

import numpy as np
import pytest
import torch

from metrics import MultiModality, RPrecision

D = 6


def pairs(count: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    texts = torch.randn(count, D, generator=g)
    return texts + noise * torch.randn(count, D, generator=g), texts


@pytest.mark.paper("VA-17")
def test_r_precision_of_one_pool_is_the_rank_of_the_own_text():
    motions, texts = pairs(20, 1.5)
    metric = RPrecision(pool=32, repeats=1)
    metric.update(motions, texts)
    distances = np.linalg.norm(motions.numpy()[:, None] - texts.numpy()[None], axis=-1)
    ranks = (np.argsort(distances, axis=1) == np.arange(20)[:, None]).argmax(1)
    np.testing.assert_allclose(metric.compute(), [(ranks <= k).mean() for k in range(3)])
    assert 0 < metric.compute()[0] < metric.compute()[2] < 1


@pytest.mark.paper("VA-17")
def test_r_precision_by_chance_and_at_its_best():
    perfect, random = RPrecision(), RPrecision(repeats=20)
    perfect.update(*pairs(100, 0.0))
    assert perfect.compute().tolist() == [1, 1, 1]
    motions, texts = pairs(320, 0.0)
    random.update(motions[torch.randperm(320, generator=torch.Generator().manual_seed(1))], texts)
    np.testing.assert_allclose(random.compute(), np.arange(1, 4) / 32, atol=0.02)


def test_texts_that_are_alike_are_no_rivals():
    metric = RPrecision()
    text = torch.randn(1, D, generator=torch.Generator().manual_seed(0))
    metric.update(torch.randn(8, D), text.expand(8, -1))
    assert metric.compute().tolist() == [1, 1, 1]


def test_pieces_are_one_set_and_too_few_are_none():
    whole, pieces = RPrecision(), RPrecision()
    motions, texts = pairs(70, 1.0)
    whole.update(motions, texts)
    for part in (slice(0, 31), slice(31, 33), slice(33, 70)):
        pieces.update(motions[part], texts[part])
    assert torch.equal(whole.compute(), pieces.compute())
    alone = RPrecision()
    assert alone.compute().isnan().all()
    alone.update(motions[:1], texts[:1])
    assert alone.compute().isnan().all()
    with pytest.raises(ValueError, match="are \\(B, D\\) each"):
        alone.update(motions, texts[:3])


@pytest.mark.paper("VA-17")
def test_multimodality_is_the_mean_distance_of_motions_for_one_text():
    metric = MultiModality()
    rng = np.random.default_rng(0)
    sets = [rng.normal(size=(n, D)) for n in (3, 4)]
    for one in sets:
        metric.update(torch.from_numpy(one))
    expected = [np.mean([np.linalg.norm(a - b) for i, a in enumerate(s) for b in s[:i]]) for s in sets]
    assert float(metric.compute()) == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="two or more"):
        metric.update(torch.zeros(1, D))
    assert MultiModality().compute().isnan()
