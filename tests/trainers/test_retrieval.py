"""Each frame nearer to its own moment than to the others: known answers."""

import numpy as np
import pytest
import torch

from models.human.keypoints import LEFT_HAND, LIPS, RIGHT_HAND
from trainers.evaluation.retrieval import own_frame_retrieval, spaced_frames

FRAMES = 60


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.rand(FRAMES, 3, 24, 32, generator=random)


@pytest.fixture(scope="module")
def pose() -> torch.Tensor:
    """Mouth in the middle, hands below, the rest of the frame nobody's."""
    pose = torch.zeros(FRAMES, 134, 3)
    for part, (left, top) in ((LIPS, (0.4, 0.3)), (LEFT_HAND, (0.6, 0.7)), (RIGHT_HAND, (0.2, 0.7))):
        count = part.stop - part.start
        pose[:, part, 0] = torch.linspace(left, left + 0.2, count)
        pose[:, part, 1] = torch.linspace(top, top + 0.2, count)
        pose[:, part, 2] = 1
    return pose


def test_a_copy_is_all_hits_and_other_moments_none(truth, pose):
    assert own_frame_retrieval(truth, truth, pose).tolist() == [True] * 12
    shuffled = truth.roll(5, 0)  # every frame is the one of five frames before: the next of the twelve
    assert own_frame_retrieval(shuffled, truth, pose).tolist() == [False] * 12
    almost = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert own_frame_retrieval(almost, truth, pose).mean() == 1


def test_noise_is_near_chance_and_a_copied_source_is_no_hit(truth, pose):
    noise = torch.Generator().manual_seed(2)
    hits = [own_frame_retrieval(torch.rand(truth.shape, generator=noise), truth, pose).mean() for _ in range(30)]
    assert np.mean(hits) == pytest.approx(1 / 12, abs=0.05)
    assert own_frame_retrieval(truth[:1].expand_as(truth), truth, pose).mean() <= 2 / 12
    assert 0 not in spaced_frames(FRAMES), "the frame that a network is given tells nothing"


def test_only_mouth_and_hands_count(truth, pose):
    # Right inside the boxes, wrong everywhere else; and the other way round.
    inside = torch.zeros(24, 32, dtype=torch.bool)
    inside[6:13, 11:21] = inside[15:23, 5:14] = inside[15:23, 18:27] = True
    wrong = truth.roll(5, 0)
    assert own_frame_retrieval(torch.where(inside, truth, wrong), truth, pose).mean() == 1
    assert own_frame_retrieval(torch.where(inside, wrong, truth), truth, pose).mean() == 0


def test_frames_that_look_alike_are_no_hits_and_hidden_ones_do_not_count(truth, pose):
    still = truth[:1].expand_as(truth)
    assert own_frame_retrieval(still, still, pose).mean() == 0
    half = pose.clone()
    half[: FRAMES // 2, :, 2] = 0
    assert len(own_frame_retrieval(truth, truth, half)) == 6
    assert spaced_frames(5) == [0, 1, 2, 3, 4]
    assert own_frame_retrieval(truth[:5], truth[:5], pose[:5]).all()
