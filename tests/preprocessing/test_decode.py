"""Decoding: whatever the file, frames at a constant rate and sound in step with them."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from datamodules.media.files import MediaError
from preprocessing.videos.decode import SourceVideo
from tests.preprocessing.clips import tone, write_clip

RATE = 16_000


def read(path, **options):
    """All slots, the sound over them, and the opened video's facts."""
    with SourceVideo(path, **options) as video:
        slots = list(video.slots())
        count = round(len(slots) / float(video.rate) * RATE)
        audio = None if video.sound is None else video.sound.read(0, count)
        return slots, audio, video


def flashes(times, at):
    """Pictures with a white square in the first frame after each moment of `at` that has its slot for itself."""
    frame = Fraction(1, 25)
    alone = [i for i in range(1, len(times) - 1) if min(times[i + 1] - times[i], times[i] - times[i - 1]) >= frame]
    lit = {next(i for i in alone if times[i] >= moment) for moment in at}

    def picture(i):
        image = np.full((48, 64, 3), 90, np.uint8)
        if i in lit:
            image[8:40, 8:56] = 250
        return image

    return picture, [times[i] for i in sorted(lit)]


def clicks(at, seconds, rate=48_000, start=Fraction(0)):
    """Quiet noise with a click at each moment."""
    audio = tone(seconds, rate) * 0.02
    pulse = np.sin(np.linspace(0, 40 * np.pi, 480)) * np.hanning(480) * 0.9
    for moment in at:
        first = round((moment - start) * rate)
        audio[first : first + 480] += pulse[: len(audio) - first]
    return audio.astype(np.float32), pulse.astype(np.float32)


def irregular(seconds, seed=0, first=Fraction(0)):
    """Time stamps 20 to 70 ms apart, on the 90 kHz clock."""
    rng = np.random.default_rng(seed)
    times = [first]
    while times[-1] < first + Fraction(seconds):
        times.append(times[-1] + Fraction(int(rng.integers(1800, 6300)), 90_000))
    return times


def onsets(audio, pulse, rate):
    """Samples at which the click begins, found by matching it."""
    import scipy.signal

    pulse = scipy.signal.resample_poly(pulse, RATE, rate).astype(np.float32)
    match = np.correlate(audio, pulse, "valid")
    peaks, _ = scipy.signal.find_peaks(match, height=match.max() * 0.6, distance=RATE // 4)
    return peaks


@pytest.mark.parametrize(
    ("container", "codec", "first", "audio_start", "rounding"),
    [
        # An mp4 states a late start, and the lead-in that AAC needs before it, in whole milliseconds.
        ("mp4", "aac", Fraction(0), Fraction(0), 0),
        ("mp4", "aac", Fraction(1, 30), Fraction(0), 0.001),
        ("mp4", "aac", Fraction(0), Fraction(1, 4), 0.001),
        ("mov", "pcm_s16le", Fraction(0), Fraction(1, 4), 0),
        ("mov", "pcm_s16le", Fraction(1, 8), Fraction(0), 0),
        ("mkv", "aac", Fraction(1, 30), Fraction(1, 4), 0.001),
    ],
)
def test_variable_rate_stays_in_step(tmp_path, container, codec, first, audio_start, rounding):
    times = irregular(6, first=first)
    picture, shown = flashes(times, [first + Fraction(k) for k in (1, 2, 3, 4, 5)])
    audio, pulse = clicks(shown, 6.2, start=audio_start)
    path = write_clip(
        tmp_path / f"a.{container}", times, picture=picture, audio=audio, audio_start=audio_start, codec=codec
    )
    slots, sound, video = read(path)
    assert len(sound) == round(len(slots) / 25 * RATE)
    bright = np.array([slot.rgb[16:32, 16:48].mean() > 170 for slot in slots])
    frames = np.flatnonzero(bright & ~np.roll(bright, 1))
    heard = onsets(sound, pulse, 48_000)
    assert len(frames) == len(heard) == 5
    true = np.array([float(time - times[0]) for time in shown])
    fresh = [slot for slot in slots if not slot.held]
    assert max(abs(slot.index / 25 - float(times[slot.source_frame] - times[0])) for slot in fresh) <= 0.5 / 25 + 1e-6
    # Half a frame for the picture; a sample for the sound, and what the container's own clock rounds away.
    assert np.abs(frames / 25 - true).max() <= 0.5 / 25 + 1e-6
    assert np.abs(heard / RATE - true).max() <= 1 / RATE + rounding + 1e-6
    # Time 0 is where the container starts, with whatever comes first.
    assert video.start == pytest.approx(float(first - min(first, audio_start)), abs=0.001)


def test_30_to_25_keeps_the_nearest_frames(tmp_path):
    slots, _, _ = read(write_clip(tmp_path / "a.mp4", seconds=2, fps=30))
    assert len(slots) == 50
    assert [slot.source_frame for slot in slots[:12]] == [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13]


def test_a_rate_below_holds_frames(tmp_path):
    slots, _, _ = read(write_clip(tmp_path / "a.mp4", seconds=1, fps=10))
    assert len(slots) == 25
    assert [slot.source_frame for slot in slots[:6]] == [0, 0, 0, 1, 1, 2]
    assert [slot.held for slot in slots[:6]] == [False, True, True, False, True, False]


def test_audio_shorter_and_longer_than_the_video(tmp_path):
    for seconds in (0.5, 2.0):
        slots, sound, _ = read(write_clip(tmp_path / "a.mp4", seconds=1, audio=tone(seconds)))
        assert len(slots) == 25
        assert len(sound) == RATE
        assert np.abs(sound[: RATE // 2]).max() > 0.01
        assert (np.abs(sound[int(0.6 * RATE) :]).max() > 0.01) == (seconds > 1)


def test_a_hole_in_the_sound_is_silence_and_shifts_nothing(tmp_path):
    from preprocessing.videos.sound import Sound

    sound = Sound()
    sound.place(100, np.ones(50, np.float32))
    sound.place(300, np.full(50, 0.5, np.float32))
    read_back = sound.read(0, 400)
    assert read_back[:100].max() == 0
    assert (read_back[100:150] == 1).all()
    assert read_back[150:300].max() == 0
    assert (read_back[300:350] == 0.5).all()
    assert sound.read(-10, 5).tolist() == [0] * 5


def turned(path, degrees):
    """Write a rotation into an mp4's track header, as a phone does that was held upright."""
    data = bytearray(path.read_bytes())
    cosine, sine = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    matrix = [cosine, sine, 0, -sine, cosine, 0, 0, 0, 1]
    at = data.find(b"tkhd") + 4
    at += 4 + 20 + 16  # version and flags; times, track, duration; reserved, layer, volume
    units = [1 << 16, 1 << 16, 1 << 30] * 3
    data[at : at + 36] = struct.pack(">9i", *(value * unit for value, unit in zip(matrix, units)))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_phone_videos_stand_upright(tmp_path, degrees):
    def picture(i):
        image = np.full((48, 96, 3), 60, np.uint8)
        image[:24, :48] = 230  # top left as stored
        return image

    path = turned(write_clip(tmp_path / "a.mp4", seconds=0.2, height=48, width=96, picture=picture), degrees)
    slots, _, video = read(path)
    image = slots[0].rgb
    # A player turns the stored picture clockwise by that angle.
    wanted = np.rot90(picture(0), -degrees // 90)
    assert image.shape == wanted.shape == (video.height, video.width, 3)
    assert np.abs(image.astype(int) - wanted).mean() < 8


@pytest.mark.parametrize(
    ("height", "width", "size", "wanted"),
    [
        (51, 75, 512, (52, 76)),
        (48, 64, 32, (24, 32)),
        (90, 40, 45, (46, 20)),
        (48, 64, 4096, (48, 64)),
    ],
)
def test_sizes_are_even_and_never_enlarged(tmp_path, height, width, size, wanted):
    def picture(i):
        return np.full((height, width, 3), 100, np.uint8)

    slots, _, video = read(
        write_clip(tmp_path / "a.mkv", seconds=0.2, height=height, width=width, picture=picture), size=size
    )
    assert slots[0].rgb.shape[:2] == (video.height, video.width)
    assert abs(video.height - wanted[0]) <= 2
    assert abs(video.width - wanted[1]) <= 2
    assert video.height % 2 == video.width % 2 == 0


def test_a_frozen_picture_is_a_gap(tmp_path):
    times = [Fraction(i, 25) for i in range(25)] + [Fraction(10) + Fraction(i, 25) for i in range(25)]
    slots, _, _ = read(write_clip(tmp_path / "a.mp4", times))
    assert len(slots) < 60
    assert [slot.index for slot in slots if slot.gap] == [250]


def test_no_sound_is_none(tmp_path):
    _, audio, _ = read(write_clip(tmp_path / "a.mp4", seconds=0.4))
    assert audio is None


def test_one_frame(tmp_path):
    slots, _, _ = read(write_clip(tmp_path / "a.mp4", [Fraction(0)]))
    assert len(slots) == 1


def broken(kind, folder):
    """A really broken file."""
    path = folder / "broken.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video\n" * 100)
    elif kind == "cut off, index lost":
        whole = write_clip(folder / "whole.mp4", seconds=4, audio=tone(4)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "cut off, index kept":
        whole = write_clip(folder / "whole.mp4", seconds=4, audio=tone(4), faststart=True).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "sound only":
        import soundfile

        soundfile.write(folder / "sound.wav", tone(1), 48_000)
        (folder / "sound.wav").rename(path)
    elif kind == "damaged":
        whole = bytearray(write_clip(folder / "whole.mp4", seconds=4, faststart=True).read_bytes())
        start = whole.find(b"mdat") + 8
        whole[start:] = np.random.default_rng(0).bytes(len(whole) - start)
        path.write_bytes(whole)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "empty"),
        ("text", "not a video"),
        ("cut off, index lost", "not a video"),
        ("cut off, index kept", "cut off"),
        ("sound only", "no picture track"),
        ("damaged", "damaged|no picture that can be decoded"),
        ("folder", "is a folder"),
        ("missing", "no video at"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path, kind, message):
    path = broken(kind, tmp_path)
    with pytest.raises(MediaError, match=message) as caught:
        read(path)
    assert "broken.mp4" in str(caught.value)


def test_memory_does_not_grow_with_the_video(tmp_path):
    import tracemalloc

    path = write_clip(tmp_path / "a.mp4", seconds=20, height=96, width=128, audio=tone(20))
    with SourceVideo(path) as video:
        slots = video.slots()
        next(slots)
        tracemalloc.start()
        for _ in slots:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # 500 frames of 37 kB are 18 MB; a few at a time are well under one.
    assert peak < 2e6
