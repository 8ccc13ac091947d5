"""Who wins, and when nobody may be said to: intervals over clips, not over seeds."""

import numpy as np
import pytest
import torch
from scipy import stats

from metrics import FrechetDistance
from metrics.frames import MeanOverFrames
from metrics.reconstruction import PSNR
from trainers.evaluation.comparison import FEWEST, Figure, best_of, difference, spread, verdict
from trainers.evaluation.per_clip import GROUPS, PerClip, combine, interval, mean_over_clips

LIPS = Figure("Lips r", "higher", "")
LABELS = {"model": "this model", "a": "baseline a", "b": "baseline b"}


def systems(**values):
    return {name: spread([{"lips": mean_over_clips(one)}]) for name, one in values.items()}


def judge(**values):
    output = systems(**values)
    return verdict(output, "lips", LIPS, LABELS, len(values["model"]))


def test_the_interval_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(3, 2, 15)
    figure = mean_over_clips([*values, np.nan])  # a clip that does not show it
    low, high = interval(figure, figure.without, figure.shown)
    expected = stats.t.interval(0.95, 14, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean_over_clips([1.0]).without.tolist() == [pytest.approx(np.nan, nan_ok=True)]
    assert spread([{"lips": mean_over_clips([1.0])}])["lips"]["low"] is None, "one clip has no interval"


def test_one_clip_and_many_seeds_are_no_verdict():
    """0.115 against 0.110 from one clip was once printed as a win."""
    one, other = (
        spread([{"lips": mean_over_clips([value + 1e-4 * seed])} for seed in range(3)]) for value in (0.115, 0.110)
    )
    found = verdict({"model": one, "a": other}, "lips", LIPS, LABELS, 1)
    assert found["outcome"] == "too few clips"
    assert found["beats_all"] is None
    assert f"too few clips for a verdict (1; {FEWEST} or more are needed)" in found["text"]


def test_a_win_and_a_loss_only_where_the_interval_of_the_difference_leaves_out_zero():
    rng = np.random.default_rng(1)
    level = rng.normal(0, 1, 20)  # clips differ much; on the same clip the systems differ little
    near, far = level + 0.05 + rng.normal(0, 0.02, 20), level + rng.normal(0, 1, 20)
    won = judge(model=near, a=level)
    assert won["outcome"] == "win"
    assert won["beats_all"]
    assert won["text"].startswith("better than baseline a")
    lost = judge(model=level, a=near)
    assert lost["outcome"] == "loss"
    assert not lost["beats_all"]
    assert lost["text"].startswith("WORSE than baseline a")
    assert won["rivals"]["a"]["low"] == pytest.approx(-lost["rivals"]["a"]["high"])
    still = judge(model=far + 0.01, a=level)
    assert still["outcome"] == "open"
    assert "not told apart from baseline a" in still["text"]
    mixed = judge(model=level, a=near, b=level - 1 + rng.normal(0, 0.1, 20))
    assert mixed["outcome"] == "loss"
    assert "WORSE than baseline a" in mixed["text"]
    assert "better than baseline b" in mixed["text"]
    assert judge(model=level, a=level)["outcome"] == "open"


def test_lower_is_better_where_it_says_so():
    values = np.linspace(0, 1, 12)
    output = systems(model=values, a=values + 0.5 + 0.01 * values)
    assert verdict(output, "lips", Figure("", "lower", ""), LABELS, 12)["outcome"] == "win"
    assert verdict(output, "lips", Figure("", "higher", ""), LABELS, 12)["outcome"] == "loss"
    assert difference(output["model"]["lips"], output["a"]["lips"], -1).ahead == pytest.approx(0.505)


def test_a_figure_that_does_not_know_its_clips_gives_no_verdict():
    output = {name: spread([{"fid": value}]) for name, value in (("model", 1.0), ("a", 2.0))}
    found = verdict(output, "fid", Figure("FID", "lower", ""), LABELS, 50)
    assert found["outcome"] == "no interval"
    assert found["beats_all"] is None
    assert output["model"]["fid"]["low"] is None


@pytest.mark.parametrize("clips", [5, GROUPS + 7])
def test_a_measure_without_a_clip_is_what_the_others_alone_give(clips):
    rng = torch.Generator().manual_seed(0)
    features = [torch.randn(4, 3, generator=rng, dtype=torch.float64) for _ in range(2 * clips)]
    kept = PerClip(FrechetDistance(3))
    alone, all_of_them = FrechetDistance(3), FrechetDistance(3)
    for i in range(clips):
        for metric in (kept, all_of_them, *([alone] if i % GROUPS != 2 else [])):
            metric.update(features[i], generated=True)
            metric.update(features[clips + i], generated=False)
        kept.end_clip()
    found = kept.compute()
    assert found == pytest.approx(float(all_of_them.compute()))
    assert found.without[2] == pytest.approx(float(alone.compute()))
    assert len(found.without) == min(clips, GROUPS)
    assert found.shown.all()


def test_means_over_frames_weigh_clips_by_their_frames():
    meter: PerClip = PerClip(PSNR())
    assert isinstance(meter.metric, MeanOverFrames)
    truth = torch.zeros(6, 3, 8, 8)
    for frames, level in ((2, 0.1), (6, 0.5)):
        meter.update(truth[:frames] + level, truth[:frames])
        meter.end_clip()
    found = meter.compute()
    assert found == pytest.approx((2 * 20 - 6 * 20 * np.log10(0.5)) / 8, rel=1e-5)
    assert found.without[1] == pytest.approx(20, rel=1e-5)


def test_figures_of_figures_keep_their_clips():
    a, b = mean_over_clips([1.0, 2.0, 3.0]), mean_over_clips([2.0, 2.0, 5.0])
    gap = combine(lambda x, y: abs(x - y), a, b)
    assert gap == pytest.approx(1)
    assert gap.without == pytest.approx([1, 1.5, 0.5])
    assert not hasattr(combine(lambda x, y: x - y, a, 1.0), "without")


def test_the_best_is_no_bound_and_no_tie():
    figure = {"better": "higher"}
    output = {"model": {"r": {"mean": 0.5}}, "a": {"r": {"mean": 0.6}}, "truth": {"r": {"mean": 1.0}}}
    assert best_of(output, "r", figure, ("truth",)) == "a"
    assert best_of(output, "r", {"better": "near"}, ("truth",)) is None
    output["a"]["r"]["mean"] = 0.5
    assert best_of(output, "r", figure, ("truth",)) is None
