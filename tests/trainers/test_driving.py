"""Poses that drive a video, of files and of videos."""

import numpy as np
import pytest

from datamodules.media.files import MediaError
from models.human.keypoints import FACE, NECK, NOSE, POINTS
from trainers.animation.driving import driving_poses
from trainers.animation.files import write_poses
from trainers.animation.fitting import onto_person, say


def poses(frames: int) -> np.ndarray:
    """Somebody whose points lie on a line each, and who moves to the right by a hundredth of the frame a frame."""
    rng = np.random.default_rng(3)
    one = np.concatenate([rng.uniform(0.3, 0.5, (POINTS, 2)), np.ones((POINTS, 1))], -1)
    output = np.repeat(one[None], frames, 0)
    output[..., 0] += 0.01 * np.arange(frames)[:, None]
    return output.astype(np.float32)


@pytest.mark.parametrize(("stated", "wanted", "frames"), [(30.0, 25.0, 10), (25.0, 30.0, 14), (25.0, 25.0, 12)])
def test_a_file_moves_as_fast_at_another_rate(tmp_path, stated, wanted, frames):
    write_poses(tmp_path / "pose.npz", poses(12), (300, 200), stated)
    output, size = driving_poses(tmp_path / "pose.npz", wanted)
    assert size == (300, 200)
    assert output.shape == (frames, POINTS, 3)
    speed = np.diff(output[: frames - 2, 0, 0]).mean() * wanted  # the last ones may be held
    assert speed == pytest.approx(0.01 * stated, rel=1e-3)


def test_a_file_without_a_rate_is_said_to_have_the_wanted_one(tmp_path, logged, caplog):
    one = poses(5)
    np.savez(tmp_path / "pose.npz", keypoints=one[..., :2], scores=one[..., 2], size=(10, 10))
    assert len(driving_poses(tmp_path / "pose.npz", 30.0)[0]) == 5
    assert "states no fps" in caplog.text


def test_frames_of_nobody_hold_the_nearest_pose(tmp_path, logged, caplog):
    one = poses(6)
    one[[0, 3], :, 2] = 0
    write_poses(tmp_path / "pose.npz", one, (10, 10), 25.0)
    output, _ = driving_poses(tmp_path / "pose.npz", 25.0)
    np.testing.assert_allclose(output[0], output[1])
    assert any(np.allclose(output[3], output[other]) for other in (2, 4))
    assert "2 of 6 frames" in caplog.text


@pytest.mark.parametrize("damage", ["nobody", "nan", "text"])
def test_files_that_cannot_drive_are_refused(tmp_path, damage):
    path, one = tmp_path / "pose.npz", poses(3)
    if damage == "nobody":
        one[..., 2] = 0
    if damage == "nan":
        one[1, 0, 0] = np.nan
    write_poses(path, one, (10, 10), 25.0)
    if damage == "text":
        path.write_text("no archive")
    with pytest.raises(MediaError, match=r"pose\.npz"):
        driving_poses(path, 25.0)


def test_poses_come_onto_the_person_in_a_picture_of_another_shape():
    driver, person = poses(8), poses(1)[0]
    person[:, :2] = (person[:, :2] - 0.4) * 0.5 + (0.7, 0.6)
    moved, how = onto_person(driver, (400, 200), person, (200, 400))
    assert how == "by lengths"
    # Square pixels: the driver is twice as high as wide, the picture the other way round.
    wide = np.ptp(moved[0, FACE, 0]) * 400
    high = np.ptp(moved[0, FACE, 1]) * 200
    driven = np.ptp(driver[0, FACE, 0]) * 200, np.ptp(driver[0, FACE, 1]) * 400
    assert wide / high == pytest.approx(driven[0] / driven[1], rel=1e-4)
    middle = moved[:, NECK, :2].mean(0)
    np.testing.assert_allclose(middle, person[NECK, :2], atol=1e-4)
    assert moved[-1, NECK, 0] > moved[0, NECK, 0]


@pytest.mark.paper("VA-16")
def test_whoever_shows_the_head_alone_is_driven_where_the_head_is():
    driver, person = poses(8), poses(1)[0]
    person[[*range(1, 14), *range(18, 24), *range(92, POINTS)]] = (-1, -1, 0)
    person[..., :2] = np.where(person[..., 2:] > 0, (person[..., :2] - 0.4) * 2 + 0.5, -1)
    moved, how = onto_person(driver, (200, 200), person, (300, 300))
    assert how == "by lengths"
    np.testing.assert_allclose(moved[:, NOSE, :2].mean(0), person[NOSE, :2], atol=1e-4)
    have, want = np.ptp(moved[0, FACE, :2], 0), np.ptp(person[FACE, :2], 0)
    np.testing.assert_allclose(have, want, rtol=1e-3)
    assert moved[:, NECK, 1].mean() > person[FACE, 1].mean()


def test_what_took_a_guess_is_said(logged, caplog):
    for how in (None, "by lengths"):
        say(how)
    assert not caplog.text
    say("still")
    assert "the person stays as in it" in caplog.text
    say("by usual proportions")
    assert "no length in common" in caplog.text


def test_nothing_in_common_is_told():
    person = poses(1)[0]
    person[:, 2] = 0
    with pytest.raises(MediaError, match="driving poses"):
        onto_person(poses(3), (100, 100), person, (100, 100))
