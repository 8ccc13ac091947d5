"""Spans of videos and boxes in their pictures: only they are decoded, and everything is measured in them."""

from fractions import Fraction

import numpy as np
import pytest

from datamodules.media.files import MediaError
from preprocessing.pipeline import Dropped, process_video
from preprocessing.step import SourceFile, fragment
from preprocessing.videos.decode import PastEnd, SourceVideo
from preprocessing.videos.seek import video_seconds
from preprocessing.videos.span import Crop, Span, read_crop, seconds
from tests.preprocessing import quick_run  # noqa: F401 - registers pose=quick
from tests.preprocessing.clips import tone, write_clip

FPS, SECONDS, BITS, SIDE = 10, 40, 10, 16
RATE = 16_000


def numbered(i):
    """A picture that shows its number as black and white bars."""
    bars = [255 if i >> bit & 1 else 0 for bit in range(BITS)]
    return np.repeat(np.repeat(np.array(bars, np.uint8)[None], SIDE, 1), 48, 0)[..., None].repeat(3, 2)


def number(rgb):
    """The number that a picture shows."""
    bars = rgb.mean(-1)[rgb.shape[0] // 2, SIDE // 2 :: SIDE] > 128
    return sum(1 << bit for bit, one in enumerate(bars) if one)


def hum(seconds, rate=48_000):
    """Noise below 1 kHz: no two stretches of it are alike, and a shift of half a sample changes little."""
    return (np.convolve(tone(seconds, rate), np.hanning(96), "same") / 4).astype(np.float32)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The same long video in several containers, with B frames, a key frame every 5 s, and sound."""
    folder = tmp_path_factory.mktemp("long")
    output = {}
    for ending, codec in (("mp4", "aac"), ("mkv", "aac"), ("ts", "aac"), ("avi", "mp2")):
        output[ending] = write_clip(
            folder / f"long.{ending}", seconds=SECONDS, fps=FPS, width=BITS * SIDE, height=48, picture=numbered,
            audio=hum(SECONDS), codec=codec, options={"g": "50", "bf": "0" if ending == "avi" else "2"},
        )  # fmt: skip
    return output


def taken(path, span=None, crop=None, **options):
    with SourceVideo(path, FPS, span=span, crop=crop, **options) as video:
        slots = list(video.slots())
        count = round(len(slots) / FPS * RATE)
        return slots, None if video.sound is None else video.sound.read(0, count), video


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize(("start", "end"), [(25.3, 28.0), (0.0, 1.5), (0.2, 1.0), (37.0, None), (15.0, 15.7)])
def test_a_span_holds_the_pictures_and_the_sound_of_its_seconds(videos, ending, start, end):
    late = 1 if ending == "avi" else 0  # FFmpeg writes the pictures of an AVI one frame late
    slots, audio, video = taken(videos[ending], Span(start, end))
    first = max(round(start * FPS) - late, 0)
    last = round((SECONDS if end is None else end) * FPS) - late
    assert [number(slot.rgb) for slot in slots] == list(range(first, last))
    assert video.start == pytest.approx((first + late) / FPS, abs=1e-6)
    assert video.first_frame() == first
    assert not video.warnings
    assert video.ends_early is None
    with SourceVideo(videos[ending], FPS) as whole:
        there = whole.sound.read(round((video.start - whole.start) * RATE), len(audio))
    shifts = range(-16, 17)
    match = [float(audio[100:-100] @ np.roll(there, shift)[100:-100]) for shift in shifts]
    same = max(match) / np.linalg.norm(audio[100:-100]) / np.linalg.norm(there[100:-100])
    assert same > 0.9, "the same sound, within a millisecond"


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_the_work_for_a_span_does_not_grow_with_its_place(videos, ending):
    decoded = [taken(videos[ending], Span(start, start + 2))[2].decoded for start in (8.0, 18.0, 28.0, 37.9)]
    assert max(decoded) < SECONDS * FPS / 3
    assert max(decoded) - min(decoded) <= 55, "no more than the place in a group of pictures explains"


def test_a_video_whose_only_key_frame_is_the_first_is_still_read_right(tmp_path):
    path = write_clip(
        tmp_path / "one.mp4", seconds=30, fps=FPS, width=BITS * SIDE, height=48, picture=numbered, options={"g": "9999"}
    )
    slots, _, video = taken(path, Span(20.0, 21.0))
    assert [number(slot.rgb) for slot in slots] == list(range(200, 210))
    assert video.first_frame() == 200


def test_a_late_start_of_the_container_is_time_zero(tmp_path):
    times = [Fraction(i, FPS) + 7 for i in range(100)]
    path = write_clip(tmp_path / "late.ts", times, fps=FPS, width=BITS * SIDE, height=48, picture=numbered)
    slots, _, video = taken(path, Span(6.0, 7.0))
    assert [number(slot.rgb) for slot in slots] == list(range(60, 70))
    assert video.start == pytest.approx(6.0, abs=1e-3)
    assert video_seconds(path) == pytest.approx(10.0, abs=0.01)


def test_a_span_past_the_end_is_cut_and_said_or_dropped(videos):
    path = videos["mp4"]
    slots, _, video = taken(path, Span(38.0, 55.0))
    assert len(slots) == 2 * FPS
    assert video.ends_early == "the span ends at 55 s, the video at 40.00 s: cut to what is there"
    assert taken(path, Span(38.0, 40.05))[2].ends_early is None
    with pytest.raises(PastEnd, match="no picture from 41 s on"):
        taken(path, Span(41.0, 42.0))
    late = SourceFile(path, path.name + fragment(Span(38.0, 55.0), None), path.parent, {}, Span(38.0, 55.0))
    options = {"fps": FPS, "pose": "quick", "face": "off", "quality": "off", "speech": [], "scenes": "off"}
    (kept,) = process_video(late, min_clip_seconds=1, **options)
    assert (kept.info.start, kept.info.end) == (38.0, 40.0)
    (dropped,) = process_video(late, min_clip_seconds=1, when_past_end="drop", **options)
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.detail) == ("past_end", "the span ends at 55 s, the video at 40.00 s")


@pytest.mark.parametrize(
    ("crop", "size", "fractions"),
    [
        (Crop(32, 0, 96, 48), (64, 48), (0.2, 0, 0.6, 1)),
        (Crop(0.2, 0.0, 0.6, 1.0), (64, 48), (0.2, 0, 0.6, 1)),
        (Crop(33, 5, 80, 44), (48, 40), None),
    ],
)
def test_a_crop_is_cut_out_at_its_place_and_its_sides_are_even(videos, crop, size, fractions):
    slots, _, video = taken(videos["mp4"], Span(20.0, 21.0), crop, size=256)
    assert (video.width, video.height) == size
    assert slots[0].rgb.shape == (video.height, video.width, 3)
    assert video.width % 2 == video.height % 2 == 0
    left, top, right, bottom = (edge * side for edge, side in zip(video.crop, (BITS * SIDE, 48) * 2))
    box = crop.pixels(BITS * SIDE, 48)
    assert np.abs(np.subtract((left, top, right, bottom), box)).max() <= 1.6
    if fractions:
        assert video.crop == pytest.approx(fractions)
        bars = slots[0].rgb.mean(-1)[24, SIDE // 2 :: SIDE] > 128
        assert bars.tolist() == [bool(200 >> bit & 1) for bit in range(2, 6)]


def test_a_crop_is_scaled_to_the_size_that_is_asked_for(videos):
    slots, _, video = taken(videos["mp4"], Span(20.0, 20.5), Crop(32, 0, 96, 48), size=32)
    assert (video.width, video.height) == (32, 24)
    bars = slots[0].rgb.mean(-1)[12, SIDE // 4 :: SIDE // 2] > 128
    assert bars.tolist() == [bool(200 >> bit & 1) for bit in range(2, 6)]


def test_a_crop_outside_the_picture_is_refused(videos):
    with pytest.raises(MediaError, match="crop 0,0,161,48 reaches outside the picture of 160 x 48"):
        taken(videos["mp4"], crop=Crop(0, 0, 161, 48))
    with pytest.raises(MediaError, match="at least 16 are needed"):
        taken(videos["mp4"], crop=Crop(0.0, 0.0, 0.05, 1.0))


def test_key_points_beside_the_video_go_with_span_and_crop(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=8, fps=FPS, width=BITS * SIDE, height=48, picture=numbered)
    count = 8 * FPS
    points = np.zeros((count, 134, 2), np.float32) + 0.5
    points[:, :, 0] = np.arange(count)[:, None] / count  # x tells the frame
    points[:, 3] = -1
    scores = np.ones((count, 134), np.float32)
    scores[:, 3] = 0
    np.savez(tmp_path / "a.pose.npz", keypoints=points, scores=scores)
    span, crop = Span(5.0, 7.0), Crop(0.5, 0.25, 1.0, 0.75)
    source = SourceFile(path, path.name + fragment(span, crop), tmp_path, {}, span, crop)
    (clip,) = process_video(
        source, fps=FPS, pose="sidecar", face="off", quality="off", speech=[], scenes="off", min_clip_seconds=1
    )
    found = clip.arrays["pose.npz"]["keypoints"]
    left, top, right, bottom = clip.crop
    np.testing.assert_allclose(found[:, 0, 0], (np.arange(50, 70) / count - left) / (right - left), atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 1], (0.5 - top) / (bottom - top), atol=1e-6)
    assert (found[:, 3] == -1).all()
    assert clip.info.extra["crop"] == pytest.approx(clip.crop)
    assert clip.info.source == "a.mp4"
    assert (clip.info.start, clip.info.end, clip.info.width, clip.info.height) == (5.0, 7.0, 80, 24)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(3, 3.0), ("83,5", 83.5), ("1:23.5", 83.5), ("0:01:23.5", 83.5), (" 02:00 ", 120.0), ("7200", 7200.0)],
)
def test_times_are_read_as_lists_write_them(value, wanted):
    assert seconds(value) == wanted


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "nan", "1:75", "1:60:00", "soon", True, [1], "1e3"])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ValueError, match=r"is no time|before the start"):
        seconds(value)


@pytest.mark.parametrize("value", ["10 20 110 220", "[10, 20, 110, 220]", [10, 20, 110, 220], "10,20;110,220"])
def test_boxes_are_read_as_lists_write_them(value):
    assert read_crop(value) == Crop(10, 20, 110, 220)
    assert not read_crop(value).is_fraction
    assert read_crop([0, 0.1, 1, 1.0000001]) == Crop(0, 0.1, 1, 1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1 2 3", "is no box"),
        ([0, 0, "1", 1], "is no box"),
        ([0, 0, float("nan"), 1], "is no box"),
        ([-1, 0, 100, 100], "outside"),
        ([200, 20, 110, 220], "not width and height"),
        ([0.1, 0.1, 0.5, 1.3], "fractions lie between"),
    ],
)
def test_what_is_no_box_is_refused(value, said):
    with pytest.raises(ValueError, match=said):
        read_crop(value)
