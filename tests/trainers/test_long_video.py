"""Seams and drift of videos made window by window, on videos whose figures are known."""

import numpy as np
import pytest
import torch

from trainers.evaluation.long_video import Trace

FPS = 30.0


def walking(frames: int, step: float = 1 / 255, jumps: tuple[int, ...] = (), jump: float = 0.0) -> torch.Tensor:
    """Grey frames (T, 3, 8, 12) whose brightness goes up and down by a step, and by more at the jumps."""
    steps = np.full(frames - 1, step)
    steps[[frame - 1 for frame in jumps]] = jump
    signs = np.where(np.arange(frames - 1) % 2, -1, 1)
    grey = 0.5 + np.concatenate([[0], np.cumsum(steps * signs)])
    return torch.from_numpy(grey)[:, None, None, None].expand(-1, 3, 8, 12).float()


@pytest.mark.paper("IM-17")
def test_a_seam_is_how_much_further_frames_jump_where_windows_meet():
    seams = [10, 20, 30]
    assert Trace().add(walking(40, jumps=(10, 20, 30), jump=5 / 255)).seam(seams) == pytest.approx(5, rel=1e-3)
    assert Trace().add(walking(40)).seam(seams) == pytest.approx(1, rel=1e-3)
    assert np.isnan(Trace().add(walking(40)).seam([]))
    assert np.isnan(Trace().add(walking(40, step=0.0, jumps=(10,), jump=0.1)).seam([10])), "nothing moves elsewhere"


def test_drift_is_a_minute_of_the_line_through_all_frames():
    minutes = torch.arange(90) / FPS / 60
    colour = torch.tensor([0.5, 0.4, 0.3]) + minutes[:, None] * torch.tensor([0.3, 0.0, -0.4])  # a minute
    frames = colour[:, :, None, None].expand(-1, -1, 8, 12)
    found = Trace().add(frames).drift(FPS)
    assert found["drift_colour"] == pytest.approx(0.5 * 255, rel=1e-3)
    pattern = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)) - 0.5
    softer = 0.5 + pattern * (0.9 * torch.exp(-0.2 * minutes))[:, None, None, None]
    assert Trace().add(softer).drift(FPS)["drift_sharpness"] == pytest.approx(-20, rel=1e-3)
    assert np.isnan(Trace().add(softer[:1]).drift(FPS)["drift_colour"])


def test_a_video_in_pieces_has_the_figures_of_the_whole():
    video = torch.rand(50, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    whole, pieces = Trace().add(video), Trace()
    for part in video.split(7):
        pieces.add(part)
    assert pieces.seam([16, 32]) == pytest.approx(whole.seam([16, 32]), rel=1e-9)
    for name, value in whole.drift(25.0).items():
        assert pieces.drift(25.0)[name] == pytest.approx(value, rel=1e-9)
    bytes_ = Trace().add((video * 255).round().to(torch.uint8))
    assert bytes_.seam([16, 32]) == pytest.approx(whole.seam([16, 32]), rel=0.01)
