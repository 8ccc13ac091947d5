"""One's own videos and picture in a demo: kept as large as faces need, cut so that the face is as in the videos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.media.files import write_video
from preprocessing.videos.square import FACE_AT
from trainers.demos import videos as demo_videos
from trainers.demos.steps import DemoError
from trainers.demos.videos import LEAST, MOST, choose_size, cut_portrait, face_height

GREY = 128


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], float]:
    """In place of the detector: height of the face, as a share, of pictures by their (height, width); none elsewhere.

    The face is as wide as it is high, its middle at 0.4 across and 0.3 down.
    """
    shares: dict[tuple[int, int], float] = {}

    def points(picture: np.ndarray, name: str) -> np.ndarray | None:
        height, width = picture.shape[:2]
        share = shares.get((height, width))
        if share is None:
            return None
        reach = share * height / 2
        return np.array([(0.4 * width + x, 0.3 * height + y) for x in (-reach, reach) for y in (-reach, reach)])

    monkeypatch.setattr(demo_videos, "_face_points", points)
    return shares


def video(path: Path, height: int, width: int) -> Path:
    write_video(path, iter(np.full((3, height, width, 3), GREY, np.uint8)), 25)
    return path


@pytest.mark.parametrize(
    ("shape", "share", "shortest", "side"),
    [
        ((640, 360), 0.15, False, 448),  # 96 pixels; 64 of them are at 426.7, and sizes come in steps of 32
        ((640, 360), 0.15, True, 256),  # of the shorter side: 240 would do
        ((360, 640), 0.15, False, 640),  # lying: 54 pixels, and no more are made than there are
        ((640, 360), 0.5, False, LEAST),
        ((1600, 900), 0.05, False, MOST),
        ((128, 96), 0.3, False, 128),
    ],
)
def test_as_large_as_the_face_needs_and_never_larger_than_the_video(shape, share, shortest, side, finder, tmp_path):
    finder[shape] = share
    video(tmp_path / "a.mp4", *shape)
    chosen = choose_size(str(tmp_path), shortest=shortest)
    assert chosen.side == side
    assert f"{shape[1]} x {shape[0]}" in chosen.reason
    kept = share * shape[0] * side / (min(shape) if shortest else max(shape))
    assert f"it has {kept:.0f}" in chosen.reason
    assert ("too few" in chosen.reason) == (kept < 0.9 * 64)


def test_the_smallest_face_decides_and_what_cannot_be_read_does_not(finder, tmp_path):
    finder[(640, 360)], finder[(638, 360)] = 0.3, 0.15
    video(tmp_path / "a.mp4", 640, 360)
    video(tmp_path / "b.mp4", 638, 360)
    video(tmp_path / "nobody.mp4", 96, 64)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert choose_size(str(tmp_path)).side == 448


def test_where_nobody_is_found_it_is_said(finder, tmp_path):
    video(tmp_path / "a.mp4", 96, 64)
    chosen = choose_size(str(tmp_path))
    assert (chosen.side, "no face was found" in chosen.reason) == (512, True)


def test_a_folder_without_videos_is_said(tmp_path):
    with pytest.raises(DemoError, match="no"):
        choose_size(str(tmp_path / "nothing"))


def test_only_some_of_many_videos_are_looked_at(finder, tmp_path, monkeypatch):
    first = video(tmp_path / "00.mp4", 96, 64)
    for number in range(1, 30):
        (tmp_path / f"{number:02d}.mp4").write_bytes(first.read_bytes() + bytes([number]))  # copies are one video
    looked: list[str] = []
    monkeypatch.setattr(demo_videos, "_look", lambda path: looked.append(path.name))
    choose_size(str(tmp_path))
    assert len(looked) == len(set(looked)) == 8
    assert {"00.mp4", "29.mp4"} <= set(looked), "over all of them"


@pytest.mark.parametrize(
    ("shape", "share", "size", "side"),
    [
        ((800, 450), 0.14, 512, 320),
        ((800, 450), 0.14, 128, 320),
        ((800, 450), 0.35, 512, 450),
        ((64, 64), 0.2, 512, 36),
    ],
)
def test_a_portrait_has_its_face_as_the_videos_have(shape, share, size, side, finder, tmp_path):
    """A square of the picture whose side is the face's height over the share, as far as the picture reaches."""
    finder[shape] = share
    height, width = shape
    pixels = np.zeros((height, width, 3), np.uint8)
    y, x = 0.3 * height, 0.4 * width
    reach = share * height / 2
    pixels[round(y - reach) : round(y + reach), round(x - 4) : round(x + 4)] = 255  # the face, as a bar
    Image.fromarray(pixels).save(tmp_path / "me.png")
    cut = np.asarray(Image.open(cut_portrait(tmp_path / "me.png", 0.35, tmp_path / "out.png", size)))
    output = min(size, side)
    assert cut.shape == (output, output, 3)
    rows, columns = np.nonzero(cut[..., 0] > 127)
    whole = share * height / side  # of the square's height
    assert np.ptp(rows) + 1 == pytest.approx(whole * output, abs=2)
    if side < width:
        assert (rows.mean() + 0.5) / output == pytest.approx(FACE_AT, abs=0.03)
        assert (columns.mean() + 0.5) / output == pytest.approx(0.5, abs=0.1)


def test_a_portrait_of_nobody_or_of_no_picture_is_said(finder, tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DemoError, match="nobody is found in it"):
        cut_portrait(tmp_path / "black.png", 0.35, tmp_path / "out.png")
    with pytest.raises(DemoError, match="not a picture"):
        cut_portrait(tmp_path / "text.png", 0.35, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_height_of_a_face(finder):
    finder[(100, 50)] = 0.4
    assert face_height(np.zeros((100, 50, 3), np.uint8)) == pytest.approx(40)
    assert face_height(np.zeros((50, 50, 3), np.uint8)) is None
