"""Files of other people's making: tracks, scripts, sound of every kind, broken bytes."""

import contextlib
import io
import time
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from datamodules.media.files import MediaError, read_audio, read_frames, read_metadata
from datamodules.media.picture import read_image
from preprocessing.videos.decode import SourceVideo
from tests.preprocessing.clips import tone, write_clip

RATE = 16_000


def write_tracks(path, pictures, sounds):
    """An mkv with several tracks: pictures as (grey, frames, disposition), sounds as (loudness, disposition)."""
    with av.open(str(path), "w") as container:
        tracks = []
        for grey, frames, disposition in pictures:
            track = container.add_stream("mjpeg" if frames == 1 else "mpeg4", rate=25, width=64, height=48)
            track.pix_fmt = "yuvj420p" if frames == 1 else "yuv420p"
            track.disposition = disposition
            tracks.append((track, grey, frames))
        heard = []
        for loudness, disposition in sounds:
            track = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
            track.disposition = disposition
            heard.append((track, loudness))
        for track, grey, frames in tracks:
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        for track, loudness in heard:
            samples = (tone(1, RATE)[None] * 20 * loudness * 3000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def test_the_default_tracks_are_taken_and_said(tmp_path):
    default, none = Disposition.default, Disposition(0)
    path = write_tracks(tmp_path / "a.mkv", [(40, 25, none), (200, 25, default)], [(0, none), (1, default)])
    with SourceVideo(path) as video:
        slots = list(video.slots())
        assert abs(int(slots[3].rgb.mean()) - 200) < 6
        assert np.abs(video.sound.read(0, RATE)).max() > 0.01
        assert video.facts == {"picture_track": 1, "sound_track": 3}
        assert "2 picture tracks: number 2 was taken" in video.warnings[0]
    assert np.abs(read_audio(path)).max() > 0.01


def test_a_preview_picture_is_no_video(tmp_path):
    both = Disposition.default
    path = write_tracks(tmp_path / "a.mkv", [(40, 1, Disposition.attached_pic), (200, 25, both)], [(1, both)])
    with SourceVideo(path) as video:
        assert len(list(video.slots())) == 25


def test_commentary_is_no_speech(tmp_path):
    default = Disposition.default
    path = write_tracks(
        tmp_path / "a.mkv", [(90, 25, default)], [(0, default | Disposition.visual_impaired), (1, default)]
    )
    assert np.abs(read_audio(path)).max() > 0.01


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ffconcat version 1.0\nfile /etc/hostname\n", "ffconcat"),
        ("#EXTM3U\n#EXTINF:5,\n/etc/hostname\n", "playlist"),
        ("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "SDP"),
        ('<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "DASH"),
        ("<!DOCTYPE html><html><body>429</body></html>", "web page"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: list(read_frames(path)), read_audio, SourceVideo])
def test_scripts_and_playlists_are_said_to_be_that(tmp_path, text, kind, read):
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(MediaError, match=kind):
        read(tmp_path / "a.mp4")


def test_nothing_is_fetched(tmp_path):
    with pytest.raises(MediaError, match="no sound file at"):
        read_audio("http://127.0.0.1:9/a.mp3")


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "b.mp4", seconds=0.4, audio=tone(0.4)).rename("12:30 talk.mp4")
    assert len(read_audio("12:30 talk.mp4")) > 0.3 * RATE


def write_stereo(path, *channels):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.stack(channels, 1) * 32768).astype("<i2").tobytes())
    return path


def mixed_by_ffmpeg(path):
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        parts = [part for frame in [*container.decode(audio=0), None] for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def test_channels_of_opposite_phase_are_not_silence(tmp_path):
    voice = tone(2, RATE)
    path = write_stereo(tmp_path / "a.wav", voice, -voice)
    assert np.abs(read_audio(path) - voice).max() < 1e-3
    both = write_stereo(tmp_path / "b.wav", voice, tone(2, RATE, seed=1))
    assert np.abs(read_audio(both) - (voice + tone(2, RATE, seed=1)) / 2).max() < 1e-3


def test_opposite_phase_is_heard_among_six_channels_too(tmp_path):
    """Left, right, centre, bass, and two at the back, in the order of WAV."""
    voice, silent = tone(2, RATE), np.zeros(2 * RATE, np.float32)
    path = write_stereo(tmp_path / "a.wav", voice, -voice, silent, silent, voice / 8, -voice / 8)
    assert np.abs(mixed_by_ffmpeg(path)).max() < 1e-3
    heard = read_audio(path)
    assert np.corrcoef(heard, voice)[0, 1] > 0.999
    assert heard.std() > voice.std() / 4
    other = write_stereo(tmp_path / "b.wav", *(tone(2, RATE, seed=i) for i in range(6)))
    assert np.abs(read_audio(other) - mixed_by_ffmpeg(other)).max() < 1e-5


def test_sound_whose_rate_and_channels_change_on_the_way(tmp_path):
    """AAC frames say their own rate and channels, and recorders of radio streams store whatever comes."""
    data = b""
    for rate, layout in ((48_000, "stereo"), (22_050, "mono"), (44_100, "stereo")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="adts") as container:
            track = container.add_stream("aac", rate=rate, layout=layout)
            samples = np.repeat(tone(1, rate)[None], 2 if layout == "stereo" else 1, 0)
            for start in range(0, rate, 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, start : start + 1024]), format="fltp", layout=layout
                )
                frame.rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        data += buffer.getvalue()
    (tmp_path / "a.aac").write_bytes(data)
    sound = read_audio(tmp_path / "a.aac")
    assert len(sound) == pytest.approx(3 * RATE, rel=0.1)
    for second in range(3):
        assert sound[second * RATE + 4000 : second * RATE + 12000].std() > 0.01


def test_a_tag_that_is_not_utf8(tmp_path):
    path = write_clip(tmp_path / "a.mkv", seconds=0.4, audio=tone(0.4))
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"\xff\xfe\xfdf"))
    with SourceVideo(path) as video:
        assert len(list(video.slots())) == 10
    assert len(read_audio(path))
    assert read_metadata(path) == {}


def test_a_broken_chunk_of_a_png_is_no_traceback(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[data.find(b"IDAT")] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(MediaError, match="not a picture"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("rate", [1, 4_000_000_000])
def test_a_rate_at_which_nobody_records_is_damage(tmp_path, rate):
    data = bytearray(write_stereo(tmp_path / "a.wav", tone(0.1, RATE), tone(0.1, RATE)).read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    begun = time.process_time()
    with pytest.raises(MediaError):
        read_audio(tmp_path / "a.wav")
    assert time.process_time() - begun < 10  # of this process alone: another's work does not count


def whole_files(folder):
    """Small whole files of each kind, and what reads them."""
    from PIL import Image

    from datamodules.media.files import encode_flac

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))
    files = {}
    for name in ("mp4", "mkv"):
        path = write_clip(folder / f"a.{name}", seconds=0.2, height=32, width=32, audio=tone(0.2))
        files[name] = path.read_bytes(), lambda path: [list(video_slots(path)), read_audio(path)]
    files["wav"] = write_stereo(folder / "a.wav", tone(0.1, RATE), tone(0.1, RATE)).read_bytes(), read_audio
    files["flac"] = encode_flac(tone(0.2, RATE)), read_audio
    for name in ("png", "jpeg", "webp"):
        buffer = io.BytesIO()
        picture.save(buffer, name)
        files[name] = buffer.getvalue(), read_image
    return files


def video_slots(path):
    with SourceVideo(path) as video:
        yield from video.slots()


def fuzz(folder, count, seed):
    """Read files with bytes broken at random: anything but a MediaError fails. The slowest one's seconds."""
    rng = np.random.default_rng(seed)
    slowest = 0.0
    for name, (data, read) in whole_files(folder).items():
        path = folder / f"broken.{name}"
        for _ in range(count):
            broken = bytearray(data)
            # Headers are short beside the data, and are what parsers trip over.
            reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
            for at in rng.integers(0, reach, rng.integers(1, 12)):
                broken[at] = rng.integers(256)
            path.write_bytes(broken)
            begun = time.process_time()
            with contextlib.suppress(MediaError):
                read(path)
            slowest = max(slowest, time.process_time() - begun)
    return slowest


def test_broken_bytes_give_errors_in_words(tmp_path):
    assert fuzz(tmp_path, 12, seed=0) < 20
