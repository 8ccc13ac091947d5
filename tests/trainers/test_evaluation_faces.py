"""Faces in frames without key points: found each by itself, on a real person (NASA's portrait of Eileen Collins)."""

import numpy as np
import pytest
import skimage.data
import torch

from metrics import ExpressionDistance
from trainers.evaluation.faces import DETECTOR, EVERY, FaceFinder, in_widths


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """(3, 256, 320) uint8."""
    picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    return picture[:, :256, 60:380].contiguous()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def test_a_face_is_found_where_it_is_and_nobody_in_noise(portrait, finder):
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, portrait.shape, dtype=np.uint8))
    points = finder(torch.stack([portrait, noise, portrait]))
    assert points.shape == (3, 68, 3)
    assert np.isnan(points[1]).all()
    np.testing.assert_array_equal(points[0], points[2])  # whatever came before
    face = points[0, :, :2]
    eyes = face[36:42].mean(0), face[42:48].mean(0)
    assert eyes[0][0] < eyes[1][0] - 0.05, "her right eye is left in the picture"
    assert face[8, 1] > face[57, 1] > face[30, 1] > max(eyes[0][1], eyes[1][1]), "chin, lips, nose, eyes from below"
    small = torch.nn.functional.interpolate(portrait[None].float(), (64, 80), mode="area")
    np.testing.assert_allclose(finder(small / 255)[0, :, :2], face, atol=0.03)


@pytest.mark.paper("VA-17")
def test_the_distance_of_a_real_face_from_itself_is_nothing_and_from_a_wider_one_it_is_something(portrait, finder):
    shifted = torch.stack([portrait, portrait.roll(6, 2), portrait.roll(-5, 1), portrait.roll(9, 2)])
    wide = torch.nn.functional.interpolate(shifted[..., 40:-40].float(), (256, 320), mode="bilinear") / 255
    distances = {}
    for name, generated in (("itself", shifted), ("wider", wide)):
        metric = ExpressionDistance(DETECTOR)
        metric.update(in_widths(finder(generated), generated), generated=True)
        metric.update(in_widths(finder(shifted), shifted), generated=False)
        assert (metric.missed, metric.unseen) == (0, 0)
        distances[name] = metric.compute().item()
    assert distances["itself"] < 1e-6
    assert distances["wider"] > 0.05


def test_the_faces_of_true_frames_are_found_once(portrait, monkeypatch):
    finder, asked = FaceFinder(), []
    monkeypatch.setattr(FaceFinder, "__call__", lambda self, frames: asked.append(len(frames)) or np.zeros((2, 68, 3)))
    clip, other = torch.zeros(10, 3, 8, 8), torch.zeros(11, 3, 8, 8)
    for frames in (clip, clip, other, other, clip):
        finder.of_truth(frames)
    assert asked == [10 // EVERY, 1 + 10 // EVERY, 10 // EVERY]
