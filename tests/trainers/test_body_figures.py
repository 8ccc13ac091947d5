"""Hands and arms, eyes, whose face, how much of a person is seen: pictures and poses whose answers are known."""

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo
from models.human.keypoints import FACE, LEFT_EYE_RIM, LEFT_HAND, RIGHT_EYE_RIM, RIGHT_HAND
from settings import ConfigError
from tests.shards import write_shards
from trainers.evaluation.body_figures import BodyFigures, held, scale_of
from trainers.evaluation.eye_reader import EyeReader, eyes_of
from trainers.evaluation.face_judge import FaceJudge
from trainers.evaluation.videos import Shot

SIZE = (60, 80)
EYES = ((RIGHT_EYE_RIM, 0.35), (LEFT_EYE_RIM, 0.55))
WIDE = 12.0
"""Pixels of an eye."""


def info(**extra) -> ClipInfo:
    return ClipInfo(id="a", source="a.mp4", end=1, fps=25, frames=5, speaker="ann", extra=extra)


def pose_of(ratios: np.ndarray, wide: float = WIDE) -> torch.Tensor:
    """(T, 134, 3): eyes that are so many times as high as they are wide."""
    pose = np.zeros((len(ratios), 134, 3), np.float32)
    rim = np.array([(0, 0), (1, -0.5), (2, -0.5), (3, 0), (2, 0.5), (1, 0.5)]) / 3 * wide
    for eye, left in EYES:
        shape = np.repeat(rim[None], len(ratios), 0)
        shape[..., 1] *= 3 * ratios[:, None]
        pose[:, eye, :2] = (shape + (80 * left, 24)) / (80, 60)
    pose[:, FACE, 2] = 1
    return torch.from_numpy(pose)


def drawn(ratios: np.ndarray, seed: int) -> torch.Tensor:
    """Frames (T, 3, 60, 80) with eyes as dark ellipses."""
    random = np.random.default_rng(seed)
    frames = np.full((len(ratios), 3, *SIZE), random.uniform(0.6, 0.8), np.float32)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for frame, ratio in zip(frames, ratios, strict=True):
        for _, left in EYES:
            high = 0.3 + WIDE * ratio / 2
            frame[:, ((rows - 24) / high) ** 2 + ((columns - 80 * left - WIDE / 2) / (WIDE / 2)) ** 2 < 1] = 0.1
    return torch.from_numpy(frames)


def test_eyes_are_read_where_they_are_large_enough():
    random, crops, wanted = np.random.default_rng(0), [], []
    for clip in range(5):
        ratios = random.uniform(0.02, 0.45, 60)
        crops.append(EyeReader.cut(drawn(ratios, clip), pose_of(ratios)))
        wanted.append(EyeReader.wanted(pose_of(ratios), SIZE))
    np.testing.assert_allclose(wanted[-1], ratios, rtol=1e-4)
    reader = EyeReader.fit_crops(torch.cat(crops), torch.from_numpy(np.concatenate(wanted)), steps=80)
    ratios = random.uniform(0.02, 0.45, 40)
    # 0.94 after so few steps; of other frames r is 0 and spreads by 0.16, as 40 frames do.
    assert reader.correlation(drawn(ratios, 9), pose_of(ratios)) > 0.8
    assert abs(reader.correlation(drawn(random.permutation(ratios), 9), pose_of(ratios))) < 0.6
    small = pose_of(ratios, wide=6.0)
    assert np.isnan(eyes_of(small, SIZE)).all(), "2.7 pixels at most"
    assert np.isnan(reader.correlation(drawn(ratios, 9), small))
    hidden = pose_of(ratios)
    hidden[3, LEFT_EYE_RIM, 2] = 0
    assert np.isnan(eyes_of(hidden, SIZE)).tolist() == [frame == 3 for frame in range(40)]


def test_eyes_that_are_too_small_in_all_clips_cannot_be_fitted(tmp_path):
    write_shards(tmp_path, clips=2, seconds=0.4, keys=("video.mp4", "pose.npz"), video_size=(8, 8))
    with pytest.raises(ConfigError, match="no frames with eyes"):
        EyeReader.fit(str(tmp_path), None, steps=1)


def faces(colour: tuple[float, float, float], count: int, seed: int) -> np.ndarray:
    """(N, 112, 112, 3): one colour with a stripe somewhere."""
    random = np.random.default_rng(seed)
    found = np.tile(np.array(colour) * 255, (count, 112, 112, 1)).astype(np.uint8)
    for face in found:
        at = random.integers(10, 90)
        face[at : at + 10] = random.integers(0, 255, 3)
    return found


def test_a_judge_tells_people_apart_that_it_was_fitted_to():
    ann, bob = (0.8, 0.6, 0.5), (0.4, 0.3, 0.3)
    known = np.concatenate([faces(ann, 20, 0), faces(bob, 20, 1)])
    judge = FaceJudge.fit_faces(known, np.repeat([0, 1], 20), ("ann", "bob"), steps=60)
    again = FaceJudge.fit_faces(known, np.repeat([0, 1], 20), ("ann", "bob"), steps=60)
    new = [judge(faces(colour, 6, 5)) for colour in (ann, bob)]
    assert new[0].shape == (6, 64)
    assert np.array_equal(new[0], again(faces(ann, 6, 5))), "the same for the same seed"
    ways = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in new]
    assert (ways[0] @ ways[0].T).min() > (ways[0] @ ways[1].T).max()
    assert not judge.source.standard


def test_likeness_needs_two_speakers(tmp_path, logged, caplog):
    write_shards(tmp_path, clips=2, seconds=0.4, keys=("video.mp4", "pose.npz"), speakers=("ann",))
    assert FaceJudge.fit(str(tmp_path), None, steps=1) is None
    assert "likeness is left out" in caplog.text


@pytest.mark.paper("VA-16")
@pytest.mark.parametrize(
    ("seen", "extra", "scale"),
    [
        ((0, 1), {}, "head"),
        ((0, 1, 2, 5), {}, "head"),
        ((0, 1, 3, 4), {}, "half"),
        ((0, 1, 3, 4, 10), {}, "whole"),
        ((0, 1), {"scale": "whole"}, "whole"),
        ((0, 1), {"scale": "huge"}, "head"),
    ],
)
def test_how_much_of_a_person_is_seen(seen, extra, scale):
    pose = torch.zeros(4, 134, 3)
    pose[:, seen, 2] = 1
    assert scale_of(info(**extra), pose) == scale
    if scale == "whole" and not extra:
        pose[1:, 10, 2] = 0
        assert scale_of(info(), pose) == "half", "feet that are in the picture now and then"


def body(frames: int = 24) -> torch.Tensor:
    """Hands low at the sides, arms above them, a face in the upper middle."""
    pose = torch.zeros(frames, 134, 3)
    for points, (x, y) in {
        (LEFT_HAND.start, LEFT_HAND.stop): (0.7, 0.8), (RIGHT_HAND.start, RIGHT_HAND.stop): (0.1, 0.8),
        (2, 5): (0.1, 0.5), (5, 8): (0.7, 0.5), (FACE.start, FACE.stop): (0.4, 0.1),
    }.items():  # fmt: skip
        count = points[1] - points[0]
        pose[:, points[0] : points[1], 0] = x + torch.linspace(0, 0.2, count)
        pose[:, points[0] : points[1], 1] = y + torch.linspace(0, 0.15, count)
        pose[:, points[0] : points[1], 2] = 1
    return pose


def test_hands_and_arms_alone_count_and_each_scale_by_itself():
    class Brightness:
        """In place of a face network: what colour a face has."""

        source = FaceJudge.source

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            return crops.reshape(len(crops), -1, 3).mean(1) - (0, 255, 0)

    truth = torch.rand(24, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    pose = body()
    shots = [Shot(info(scale=scale), (truth * 255).to(torch.uint8), pose) for scale in ("head", "whole")]
    followed: list[tuple] = []

    def follow(row, seed, number, shot):
        followed.append((row, seed, number))
        return held(shot.pose)

    figures = BodyFigures(None, {"likeness": Brightness()}, follow)
    wrong = shots[0].frames.clone()
    wrong[..., :25, 30:50] = 0  # the head
    for number, shot in enumerate(shots):
        figures.add("model", 0, number, shot.frames if number else wrong, shot)
        figures.add("truth", 0, number, shot.frames, shot)
    model, true = figures.of("model", 0), figures.of("truth", 0)
    assert model["psnr_hands_arms"] == 100, "nothing is wrong there"
    assert model["retrieval_hands_arms"] == 1
    assert set(true) == {"likeness", "likeness_head", "likeness_whole"}
    assert model["likeness_whole"] == pytest.approx(1, abs=0.02)
    assert model["likeness_head"] < model["likeness_whole"] - 0.05
    assert model["likeness"] == pytest.approx((model["likeness_head"] + model["likeness_whole"]) / 2)
    assert set(model) <= set(figures.figures)
    assert ("model", 0, 1) in followed
    worse = shots[0].frames.clone()
    worse[..., 48:, :25] = 0  # a hand
    figures.add("other", 0, 0, worse, shots[0])
    assert figures.of("other", 0)["psnr_hands_arms"] < 30
