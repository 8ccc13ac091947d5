"""Lip correlation on faces whose lips are moved by hand."""

import numpy as np
import pytest
import torch

from metrics import LipCorrelation
from models.human.keypoints import CHIN, INNER_LIP_BOTTOM, INNER_LIP_TOP, LEFT_BROW, RIGHT_BROW


def talking(opening: np.ndarray, size: float = 0.2) -> torch.Tensor:
    """A face of a given size whose inner lips are `opening` of it apart."""
    pose = torch.full((len(opening), 134, 3), 0.5)
    pose[..., 2] = 1
    pose[:, CHIN, 1] = 0.5 + size / 2
    pose[:, RIGHT_BROW, 1] = pose[:, LEFT_BROW, 1] = 0.5 - size / 2
    pose[:, INNER_LIP_TOP, 1] = 0.55
    pose[:, INNER_LIP_BOTTOM, 1] = 0.55 + torch.from_numpy(opening * size).float()
    return pose


@pytest.fixture
def openings() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 0.3, (3, 40))


def measure(*pairs: tuple[torch.Tensor, torch.Tensor]) -> LipCorrelation:
    metric = LipCorrelation()
    for generated, truth in pairs:
        metric.update(generated, truth)
    return metric


def test_is_pearsons_r_meaned_over_clips(openings):
    a, b, c = openings
    metric = measure((talking(a), talking(b)), (talking(a), talking(c)))
    expected = (np.corrcoef(a, b)[0, 1] + np.corrcoef(a, c)[0, 1]) / 2
    assert metric.compute().item() == pytest.approx(expected, abs=1e-5)


def test_size_of_the_face_and_of_the_opening_do_not_matter(openings):
    assert measure((talking(0.2 * openings[0], size=0.1), talking(openings[0]))).compute().item() == pytest.approx(
        1, abs=1e-5
    )
    assert measure((talking(-openings[0]), talking(openings[0]))).compute().item() == pytest.approx(-1, abs=1e-5)


def test_a_still_face_earns_nothing_and_is_counted(openings):
    metric = measure((talking(np.full(40, 0.2)), talking(openings[0])), (talking(openings[0]), talking(openings[0])))
    assert metric.compute().item() == pytest.approx(0.5, abs=1e-5)
    assert metric.constant == 1


def test_frames_without_true_lips_are_left_out(openings):
    truth, generated = talking(openings[0]), talking(openings[0])
    truth[10:20, CHIN] = torch.tensor([-1.0, -1.0, 0.0])
    generated[10:20, INNER_LIP_BOTTOM, 1] = 0.9
    assert measure((generated, truth)).compute().item() == pytest.approx(1, abs=1e-5)
    hidden = measure((generated[:15], truth[8:23]))
    assert hidden.unseen == 1
    assert hidden.compute().isnan()


def test_leaving_generated_frames_out_does_not_help(openings):
    truth = talking(openings[0])
    wrong = talking(np.where(np.arange(40) < 20, openings[0], openings[1]))
    hiding = wrong.clone()
    hiding[20:, 24:92] = torch.tensor([-1.0, -1.0, 0.0])
    assert measure((hiding, truth)).compute() < 0.9
