"""Poses read off frames: drawn dots, whose places are known; and what is made of poses that were read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo
from models.human.autoencoder import PoseAutoencoder
from models.human.keypoints import BODY, LEFT_WRIST, NECK, NOSE, RIGHT_WRIST
from settings import ConfigError
from tests.shards import write_shards
from trainers.evaluation.pose_reader import PoseReader, small
from trainers.evaluation.read_poses import ReadPoses, check_reading, read_against, reading_of
from trainers.evaluation.talks import Talk
from trainers.evaluation.videos import Shot

SIZE = (48, 64)  # rows, columns
DOTS = {NOSE: (1.0, 0.2, 0.2), RIGHT_WRIST: (0.2, 1.0, 0.2), LEFT_WRIST: (0.2, 0.2, 1.0)}


def poses_of(count: int, seed: int) -> torch.Tensor:
    """(T, 134, 3) of three points anywhere; the neck is seen in half of the frames, the rest never."""
    random = np.random.default_rng(seed)
    pose = np.full((count, 134, 3), -1, np.float32)
    pose[..., 2] = 0
    points = list(DOTS)
    pose[:, points, :2], pose[:, points, 2] = random.uniform(0.15, 0.85, (count, len(points), 2)), 1
    pose[::2, NECK] = (0.5, 0.5, 1)
    return torch.from_numpy(pose)


def drawn(pose: torch.Tensor) -> torch.Tensor:
    """Frames (T, 3, 48, 64) with a soft dot of its own colour at each of the points."""
    rows, columns = (torch.arange(n).float() + 0.5 for n in SIZE)
    frames = torch.full((len(pose), 3, *SIZE), 0.1)
    for point, colour in DOTS.items():
        x, y = pose[:, point, 0, None] * SIZE[1], pose[:, point, 1, None] * SIZE[0]
        dot = torch.exp(-((rows - y) ** 2)[:, :, None] / 30 - ((columns - x) ** 2)[:, None] / 30)
        frames += dot[:, None] * torch.tensor(colour)[:, None, None]
    return frames.clamp(0, 1)


@pytest.fixture(scope="module")
def reader() -> PoseReader:
    pose = poses_of(600, 0)
    return PoseReader.fit_frames(small(drawn(pose)), pose, steps=200)


@pytest.mark.paper("PH-20")
def test_points_of_frames_that_it_was_not_fitted_to_are_read(reader):
    pose = poses_of(60, 1)
    found, points = reader.read(drawn(pose)), list(DOTS)
    assert reader.points == tuple(sorted(DOTS)), "those that are nearly always there"
    away = np.linalg.norm(found[:, points, :2] - pose.numpy()[:, points, :2], axis=-1)
    assert away.mean() < 0.06, "0.014, of points that lie 0.35 apart"
    bytes_read = reader.read((drawn(pose) * 255).round().to(torch.uint8))
    assert np.abs(bytes_read - found)[:, points].max() < 0.01
    others = [point for point in range(134) if point not in DOTS]
    assert (found[:, others] == (-1, -1, 0)).all()
    assert (found[:, points, 2] == 1).all()


def test_it_is_fitted_to_training_clips_alike_for_a_seed(tmp_path):
    write_shards(
        tmp_path, clips=4, seconds=1.0, keys=("video.mp4", "pose.npz"), splits=("train", "train", "test", "val")
    )
    first, again, other = (PoseReader.fit(str(tmp_path), (32, 48), steps=3, seed=seed) for seed in (0, 0, 1))
    frames = torch.rand(6, 3, 32, 48)
    assert np.array_equal(first.read(frames), again.read(frames))
    assert not np.array_equal(first.read(frames), other.read(frames))
    with pytest.raises(ConfigError, match="no frames with poses in nobody"):
        PoseReader.fit(str(tmp_path), (32, 48), ("nobody",))
    hidden = poses_of(20, 0)
    hidden[::3, :, 2] = 0
    with pytest.raises(ConfigError, match="no point of body or hands is seen in 90%"):
        PoseReader.fit_frames(torch.rand(20, 3, 64, 64), hidden, steps=1)


def test_what_reading_is_worth():
    info = ClipInfo(id="a", source="", end=1, fps=25, frames=40, width=64, height=32)
    true = poses_of(40, 2).numpy()
    assert read_against(true, true, info) == (0, 1)
    off = true.copy()
    off[..., 0] += 0.01  # of the width, which is twice the height
    assert read_against(off, true, info)[0] == pytest.approx(0.02, rel=1e-4)
    mean = true.copy()
    mean[:, :, :2] = np.where(true[..., 2:] > 0, true[..., :2].sum(0) / 40, true[..., :2])
    points = list(DOTS)
    still, moving = mean[:, points], true[:, points]
    mean, only = (np.full_like(true, 0) for _ in range(2))
    mean[:, points], only[:, points] = still, moving
    assert read_against(mean, only, info)[1] == pytest.approx(0, abs=1e-4), "standing still explains nothing"
    assert np.isnan(read_against(true * 0, true, info)).all()


FRAMES, FPS = 100, 25.0
STOPS = np.array([0.8, 1.6, 2.4, 3.2])


def strokes(late: float = 0.0) -> np.ndarray:
    """(T, 134, 3) of wrists that swing, and stand still for a moment where speech has its onsets (or later)."""
    times = np.arange(FRAMES) / FPS - late
    pose = np.full((FRAMES, 134, 3), -1, np.float32)
    pose[..., 2] = 0
    # Still at every 0.8 s: the speed is that of a sine.
    swing = 0.5 + 0.1 * np.cos(np.pi * times / 0.8)
    for point in (LEFT_WRIST, RIGHT_WRIST):
        pose[:, point] = np.stack([swing, 0 * swing + 0.5, 0 * swing + 1], -1)
    return pose


@pytest.fixture(scope="module")
def clicks() -> Talk:
    sound = np.zeros(round(FRAMES / FPS * 16_000), np.float32)
    burst = np.random.default_rng(0).normal(0, 0.3, 800).astype(np.float32) * np.linspace(1, 0, 800, dtype=np.float32)
    for stop in STOPS:
        sound[round(stop * 16_000) :][:800] = burst
    info = ClipInfo(id="a", source="", end=4, fps=FPS, frames=FRAMES, width=8, height=8)
    return Talk(info, strokes(), {}, sound, None)


def read_all(talk: Talk, poses: dict[str, np.ndarray]) -> ReadPoses:
    """Rows of one clip whose frames say which pose is in them."""
    names = list(poses)
    torch.manual_seed(0)
    encoder = PoseAutoencoder(window=16, width=8, features=2).eval()
    read = ReadPoses(lambda frames, fps: poses[names[int(frames[0, 0, 0, 0])]], encoder, [talk])
    frames = {name: torch.full((FRAMES, 3, 8, 8), number, dtype=torch.uint8) for number, name in enumerate(names)}
    shot = Shot(talk.info, frames["truth"], torch.from_numpy(talk.pose))
    for name in names:
        read.add(name, 0, 0, frames[name], shot)
    return read


@pytest.mark.paper("PH-20")
def test_bas_fgd_and_diversity_are_of_the_poses_that_are_seen(clicks):
    poses = {"truth": strokes(), "copy": strokes(), "late": strokes(0.3), "reconstruction": strokes(0.04)}
    read = read_all(clicks, poses)
    found = {name: read.figures(name, 0) for name in poses}
    assert found["copy"]["bas"] == found["truth"]["bas"] == found["truth"]["bas_stored"] > 0.7
    assert found["late"]["bas"] < 0.3
    assert found["late"]["bas_distance"] == pytest.approx(abs(found["late"]["bas"] - found["truth"]["bas"]))
    assert found["copy"]["fgd"] == pytest.approx(0, abs=1e-6)
    assert found["copy"]["bas_distance"] == 0
    assert found["late"]["fgd"] > 1e-6
    assert found["copy"]["diversity"] == found["truth"]["diversity"] != found["late"]["diversity"]
    reading = {"pose_read_error", "pose_read_motion"}
    assert reading <= set(found["truth"])
    assert reading <= set(found["reconstruction"])
    assert not reading & set(found["late"])
    assert found["truth"]["pose_read_error"] == 0
    assert found["reconstruction"]["pose_read_error"] > 0.001


def test_true_poses_are_read_off_true_frames_and_not_taken_as_stored(clicks):
    other = replace(clicks, pose=strokes(0.2))
    read = read_all(other, {"truth": strokes(), "copy": strokes()})
    assert read.figures("copy", 0)["bas_distance"] == 0
    assert read.figures("truth", 0)["bas_stored"] != read.figures("truth", 0)["bas"]
    assert read.figures("truth", 0)["pose_read_error"] > 0.01


class _Step:
    """In place of a back end: a point where the brightest pixel is, its score what the frame's corner says."""

    def __init__(self, **options) -> None:
        self.options = options

    def __call__(self, draft) -> None:
        keypoints, scores = np.full((draft.info.frames, 134, 2), -1.0), np.zeros((draft.info.frames, 134))
        for number, frame in enumerate(draft.frames()):
            row, column = np.unravel_index(frame[..., 1].argmax(), frame.shape[:2])
            keypoints[number, NECK] = (column / frame.shape[1], row / frame.shape[0])
            scores[number, NECK] = frame[0, 0, 0] / 255
        draft.arrays["pose.npz"] = {"keypoints": keypoints, "scores": scores}


@pytest.mark.parametrize("kind", ["mediapipe", "dwpose"])
def test_back_ends_of_preprocessing_read_whole_frames(monkeypatch, kind):
    monkeypatch.setattr("preprocessing.pose.mediapipe.MediaPipePose", _Step)
    monkeypatch.setattr("preprocessing.pose.dwpose.DWPose", _Step)
    read = reading_of(kind, "", None, "crop", 0, "FOLDER", "cpu")
    frames = torch.zeros(3, 3, 10, 20)
    frames[:, 1, 4, 5] = 1
    frames[:2, 0, 0, 0] = 1
    pose = read(frames, 25.0)
    assert pose.shape == (3, 134, 3)
    assert pose[0, NECK].tolist() == pytest.approx([0.25, 0.4, 1])
    assert pose[2, NECK].tolist() == [-1, -1, 0], "what is not visible is missing"
    assert (pose[:, BODY.start] == (-1, -1, 0)).all()
    info = ClipInfo(id="a", source="", end=1, fps=25, frames=3)
    check_reading(read, kind, [Shot(info, frames, None)])
    frames[1, 0, 0, 0] = 0
    with pytest.raises(ConfigError, match=rf"poses={kind}: somebody is found in 33% .* poses=reader"):
        check_reading(read, kind, [Shot(info, frames, None)])
