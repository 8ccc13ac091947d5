"""Oblong frames are cropped or put between bars, never stretched, and points go with them."""

import logging

import numpy as np
import pytest

from datamodules.media.files import encode_video
from datamodules.media.fitting import Fit
from datamodules.media.video import read_window
from datamodules.reader import ClipDataModule
from settings import ConfigError
from tests.shards import write_shards

HEIGHT, WIDTH = 96, 160


@pytest.fixture(scope="module")
def disc() -> bytes:
    """Video of a white disc, 40 pixels wide, in the middle of a wide picture."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    round_ = (np.hypot(x + 0.5 - WIDTH / 2, y + 0.5 - HEIGHT / 2) < 20).astype(np.uint8) * 255
    return encode_video((np.repeat(round_[..., None], 3, -1) for _ in range(6)), 25.0)


def extent(frame: np.ndarray) -> tuple[int, int]:
    """Height and width of what is white."""
    rows, columns = np.nonzero(frame.mean(-1) > 128)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(("mode", "across"), [("crop", 40 * 64 / HEIGHT), ("pad", 40 * 64 / WIDTH)])
def test_a_disc_stays_round(disc, mode, across):
    frames = read_window(disc, 1, 4, Fit.of(HEIGHT, WIDTH, (64, 64), mode))
    assert frames.shape == (4, 64, 64, 3)
    for frame in frames:
        height, width = extent(frame)
        assert abs(height - width) <= 1
        assert abs(width - across) <= 2


def test_bars_are_black_and_nothing_is_cut_off():
    fit = Fit.of(HEIGHT, WIDTH, (64, 64), "pad")
    assert (fit.scaled, fit.top, fit.left) == ((38, 64), 13, 0)
    white = encode_video((np.full((HEIGHT, WIDTH, 3), 255, np.uint8) for _ in range(3)), 25.0)
    frame = read_window(white, 0, 2, fit)[0]
    assert frame[13:51].min() > 240
    assert frame[:13].max() == frame[51:].max() == 0


def test_frames_of_the_same_shape_are_scaled_alone():
    assert not Fit.of(1080, 1920, (144, 256)).changes
    assert not Fit.of(1080, 1918, (144, 256)).changes  # a codec's even number
    assert Fit.of(1920, 1080, (256, 256)).changes


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_points_stay_on_what_they_mark(disc, mode):
    fit = Fit.of(HEIGHT, WIDTH, (64, 64), mode)
    right = fit.moved(np.array([0.5 + 20 / WIDTH, 0.5, 1.0], np.float32))
    frame = read_window(disc, 0, 2, fit)[0]
    edge = np.nonzero(frame[32].mean(-1) > 128)[0].max() + 1
    assert right[0] * 64 == pytest.approx(edge, abs=1)
    assert right[1:].tolist() == [0.5, 1.0]
    missing = np.array([-1, -1, 0], np.float32)
    assert fit.moved(missing).tolist() == missing.tolist()
    boxes = np.array([[0.5 - 20 / WIDTH, 0.4, 0.5 + 20 / WIDTH, 0.6]], np.float32)
    assert fit.moved_boxes(boxes)[0, 2] == pytest.approx(right[0])


def test_the_loader_crops_and_says_so_once(tmp_path, caplog):
    write_shards(tmp_path, clips=4, seconds=1.0, keys=("video.mp4", "pose.npz"), video_size=(48, 96))
    said = {}
    for mode in ("crop", "pad"):
        caplog.clear()
        module = ClipDataModule(
            ("video.mp4", "pose.npz"), shards=str(tmp_path), window=10, video_size=(32, 32), video_fit=mode, workers=0
        )
        with caplog.at_level(logging.WARNING):
            batches = list(module.train_dataloader())
            list(module.train_dataloader())
        told = [record.getMessage() for record in caplog.records if "video_fit" in record.getMessage()]
        assert len(told) == 1
        assert "96 x 48 pixels" in told[0]
        said[mode] = batches[0]
    plain = next(iter(ClipDataModule(("pose.npz",), shards=str(tmp_path), window=10, workers=0).train_dataloader()))
    assert said["crop"].video.shape[-2:] == (32, 32)
    x, seen = plain.pose[..., 0], plain.pose[..., 2] > 0
    assert np.allclose(said["crop"].pose[..., 0][seen], x[seen] * 2 - 0.5, atol=1e-5)
    assert np.allclose(said["pad"].pose[..., 0][seen], x[seen], atol=1e-5)
    assert said["pad"].video[..., :8, :].max() == 0


def test_a_size_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.video_size"):
        ClipDataModule(("video.mp4",), shards=str(tmp_path), video_size=(0, 64))
