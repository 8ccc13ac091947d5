"""The beat alignment score on motion and sound whose beats are known."""

import math

import numpy as np
import pytest
import torch

from metrics import BeatAlignmentScore
from metrics.beats import beat_alignment, motion_beats

FPS = 25.0


def swinging(period: float, seconds: float = 8.0, start: float = 0.0) -> torch.Tensor:
    """A figure that swings to and fro: it stands still for a moment every half period, at `start` and so on."""
    times = torch.arange(int(seconds * FPS)) / FPS
    pose = torch.zeros(len(times), 134, 3)
    pose[..., 0] = 0.5 + 0.1 * torch.cos(2 * math.pi * (times - start) / period)[:, None]
    pose[..., 1], pose[..., 2] = 0.5, 1.0
    return pose


def test_motion_beats_are_where_the_figure_turns():
    beats = motion_beats(swinging(1.0, start=0.25), FPS)
    expected = np.arange(0.25, 8, 0.5)
    inside = expected[(expected > 0.2) & (expected < 7.8)]
    assert len(beats) == pytest.approx(len(inside), abs=1)
    assert max(np.abs(beats[:, None] - inside).min(1)) <= 0.5 / FPS + 1e-9


@pytest.mark.paper("PH-20")
def test_score_is_the_published_formula():
    beats, onsets, sigma = np.array([1.0, 2.1, 4.0]), np.array([1.05, 2.0, 3.0, 9.0]), 0.05
    terms = [math.exp(-(min(abs(b - o) for o in onsets) ** 2) / (2 * sigma**2)) for b in beats]
    assert beat_alignment(beats, onsets, sigma) == pytest.approx(sum(terms) / 3)
    # Over motion beats, not over onsets: onsets without a movement cost nothing.
    assert beat_alignment(np.array([1.0]), np.array([1.0, 5.0, 9.0]), sigma) == 1.0


@pytest.mark.paper("PH-20")
def test_motion_on_the_beat_scores_over_motion_between_beats():
    onsets = np.arange(0.5, 8, 0.5)
    on, off, silent = BeatAlignmentScore(), BeatAlignmentScore(), BeatAlignmentScore()
    on.update(swinging(1.0), onsets, FPS)
    off.update(swinging(1.0, start=0.25), onsets, FPS)
    silent.update(swinging(1.0), np.zeros(0), FPS)
    assert on.compute() > 0.8
    assert off.compute() < 0.1
    assert silent.compute() == 0


def test_a_still_figure_scores_nothing_and_is_counted():
    metric = BeatAlignmentScore()
    metric.update(swinging(1.0)[:1].expand(100, 134, 3), np.array([1.0]), FPS)
    assert metric.compute() == 0
    assert metric.without_beats == 1


def test_trembling_makes_no_beats():
    pose = swinging(1.0, start=0.25)
    pose[..., :2] += 0.002 * torch.rand(pose[..., :2].shape, generator=torch.Generator().manual_seed(0))
    assert len(motion_beats(pose, FPS)) == len(motion_beats(swinging(1.0, start=0.25), FPS))
    still = torch.ones(100, 134, 3)
    still[50:, 0, 0] = 2
    assert len(motion_beats(still, FPS)) == 0


def test_missing_points_make_no_beats():
    pose = swinging(1.0)
    flicker = pose.clone()
    flicker[::3, 92:] = torch.tensor([-1.0, -1.0, 0.0])
    assert np.allclose(motion_beats(flicker, FPS), motion_beats(pose, FPS), atol=1e-6)


@pytest.mark.paper("PH-20")
def test_the_spread_is_3_frames_of_60_fps_unless_said():
    """All beats 0.1 s beside an onset: two sigmas, exp(-2)."""
    beats = motion_beats(swinging(1.0), FPS)
    metric, wide = BeatAlignmentScore(), BeatAlignmentScore(sigma=0.1)
    for one in (metric, wide):
        one.update(swinging(1.0), np.asarray(beats) + 0.1, FPS)
    assert len(beats) > 3
    assert metric.compute().item() == pytest.approx(math.exp(-2), rel=1e-3)
    assert wide.compute().item() == pytest.approx(math.exp(-0.5), rel=1e-3)
