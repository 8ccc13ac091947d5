"""Lips read off frames: drawn mouths, whose opening is known."""

import numpy as np
import pytest
import torch

from models.human.keypoints import FACE, INNER_LIP_BOTTOM, INNER_LIP_TOP, lip_opening
from settings import ConfigError
from tests.shards import write_shards
from trainers.evaluation.lip_reader import SIDE, LipReader, crops_of, openings_of

SIZE = (60, 80)  # rows, columns


def pose_of(openings: np.ndarray, left: float = 0.3) -> torch.Tensor:
    """(T, 134, 3): a face 0.4 of the frame's height tall, whose inner lips are so far apart."""
    pose = np.zeros((len(openings), 134, 3), np.float32)
    x, y = np.meshgrid(np.linspace(0, 0.3, 4), np.linspace(0, 0.4, 17))
    face = np.stack([left + x.ravel(), 0.3 + y.ravel()], -1)
    face[[8]], face[17:27, 1] = (left + 0.15, 0.7), 0.3  # chin, brows
    pose[:, FACE, :2], pose[:, FACE, 2] = face, 1
    middle = 0.58
    pose[:, INNER_LIP_TOP, 1] = middle - 0.2 * openings
    pose[:, INNER_LIP_BOTTOM, 1] = middle + 0.2 * openings
    return torch.from_numpy(pose)


def drawn(openings: np.ndarray, seed: int, left: float = 0.3, shade: float = 0.7) -> torch.Tensor:
    """Frames (T, 3, 60, 80) of skin with a dark mouth, so many rows tall, on a background that moves at random."""
    random = np.random.default_rng(seed)
    frames = np.full((len(openings), 3, *SIZE), 0.2, np.float32)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for frame, opening in zip(frames, openings, strict=True):
        frame[:, 18:42, int(80 * left) : int(80 * left) + 24] = shade
        tall = 60 * 0.2 * opening
        mouth = ((rows - 34.8) / (0.5 + tall)) ** 2 + ((columns - 80 * left - 12) / 6) ** 2 < 1
        frame[:, mouth] = 0.15
        frame[:, :10] = random.uniform(size=3)[:, None, None]
    return torch.from_numpy(frames)


@pytest.fixture(scope="module")
def reader() -> LipReader:
    random, crops, openings = np.random.default_rng(0), [], []
    for clip in range(6):
        opening, left = random.uniform(0, 0.5, 60), float(random.uniform(0.2, 0.5))
        frames = drawn(opening, clip, left, float(random.uniform(0.5, 0.9)))
        crops.append(crops_of(frames, pose_of(opening, left)))
        openings.append(opening)
    return LipReader.fit_crops(torch.cat(crops), torch.from_numpy(np.concatenate(openings)), steps=100)


def test_the_opening_of_mouths_that_it_was_not_fitted_to_is_read(reader):
    opening = np.random.default_rng(9).uniform(0, 0.5, 40)
    frames, pose = drawn(opening, 9, left=0.35), pose_of(opening, left=0.35)
    # 0.99, and 0.024 of openings up to 0.5, after a hundred steps.
    assert reader.correlation(frames, pose) > 0.95
    assert reader.correlation((frames * 255).round().to(torch.uint8), pose) > 0.95
    # In the units of its own data, not only in step with them.
    assert np.abs(reader.read(frames, pose) - lip_opening(pose.numpy())).mean() < 0.05


def test_mouths_of_other_moments_are_not_taken_for_the_right_ones(reader):
    random = np.random.default_rng(5)
    pose = pose_of(random.uniform(0, 0.5, 80))
    # By chance r spreads by 0.11, as 80 frames do.
    assert abs(reader.correlation(drawn(random.uniform(0, 0.5, 80), 5), pose)) < 0.3


def test_a_still_mouth_earns_nothing_and_a_hidden_one_has_no_figure(reader):
    opening = np.random.default_rng(3).uniform(0, 0.5, 20)
    still = drawn(opening, 3)[:1].expand(20, -1, -1, -1)
    assert reader.correlation(still, pose_of(opening)) == 0
    hidden = pose_of(opening)
    hidden[..., 2] = 0
    assert np.isnan(reader.read(still, hidden)).all()
    assert np.isnan(reader.correlation(still, hidden))
    assert np.isnan(reader.correlation(still, pose_of(np.full(20, 0.2)))), "the true lips stand still"


def test_where_the_face_is_says_nothing_of_the_lips():
    opening = np.linspace(0, 0.5, 20)
    pose, frames = pose_of(opening), drawn(opening, 0)
    crops, shut = crops_of(frames, pose), crops_of(frames, pose_of(np.zeros(20)))
    assert crops.shape == (20, 3, SIDE, SIDE)
    assert torch.equal(crops, shut)
    assert np.allclose(openings_of(pose), lip_opening(pose.numpy()))


def test_it_is_fitted_to_training_clips_alike_for_a_seed(tmp_path):
    write_shards(
        tmp_path, clips=4, seconds=1.0, keys=("video.mp4", "pose.npz"), splits=("train", "train", "test", "val")
    )
    size = (32, 48)
    first, again, other = (LipReader.fit(str(tmp_path), size, steps=3, seed=seed) for seed in (0, 0, 1))
    clip, pose = torch.rand(6, 3, *size), pose_of(np.full(6, 0.2))
    assert np.array_equal(first.read(clip, pose), again.read(clip, pose))
    assert not np.array_equal(first.read(clip, pose), other.read(clip, pose))
    with pytest.raises(ConfigError, match="no frames with lips in nobody"):
        LipReader.fit(str(tmp_path), size, ("nobody",))
