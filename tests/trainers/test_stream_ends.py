"""Where the sound of a stream comes from and its frames go: files, pipes, microphones, what breaks off (CA-15)."""

import contextlib
import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import types
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from datamodules.media.container import MediaError
from datamodules.media.files import read_audio, read_frames, read_metadata
from settings import ConfigError
from tests.trainers.live import RATE, talk
from trainers.streaming.outputs import OutputGone, VideoOutput, output_of
from trainers.streaming.sources import HELD, Arriving, FileSource, MicrophoneSource, PipeSource, Source
from trainers.streaming.stream import Frame

ROOT = Path(__file__).resolve().parents[2]


def heard(source: Source) -> tuple[np.ndarray, list[int]]:
    pieces = list(source.pieces())
    return np.concatenate([np.asarray(piece.samples).reshape(-1) for piece in pieces]), [piece.rate for piece in pieces]


@pytest.mark.parametrize("rate", [RATE, 44_100, 8_000])
def test_a_file_comes_at_its_own_rate_in_pieces(tmp_path, rate):
    sound = talk(1.3, rate)
    soundfile.write(tmp_path / "a.wav", np.stack([sound, sound], 1), rate, subtype="PCM_16")
    source = FileSource(tmp_path / "a.wav", 0.2, live=False)
    pieces = list(source.pieces())
    assert {piece.rate for piece in pieces} == {rate}
    assert max(len(piece.samples) for piece in pieces) == round(0.2 * rate)
    np.testing.assert_allclose(np.concatenate([piece.samples for piece in pieces]), sound, atol=1e-4)


def test_channels_of_opposite_phase_do_not_fall_silent(tmp_path):
    sound = talk(1.0)
    soundfile.write(tmp_path / "a.wav", np.stack([sound, -sound], 1), RATE)
    samples, _ = heard(FileSource(tmp_path / "a.wav", 0.2, live=False))
    assert np.corrcoef(np.abs(samples), np.abs(sound))[0, 1] > 0.99


def test_a_live_file_takes_its_time_and_stops_when_told(tmp_path):
    soundfile.write(tmp_path / "a.wav", talk(5.0), RATE)
    source, begun, count = FileSource(tmp_path / "a.wav", 0.1, live=True), time.monotonic(), 0
    for _ in source.pieces():
        count += 1
        assert time.monotonic() - begun >= 0.1 * count - 1e-3
        if count == 3:
            source.stop()
    assert count == 3


def test_a_file_that_breaks_off_gives_what_it_has_and_says_so(tmp_path):
    soundfile.write(tmp_path / "whole.flac", talk(20.0) + np.random.default_rng(0).normal(0, 0.01, 20 * RATE), RATE)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "a.txt").write_text("no sound")
    with pytest.raises(MediaError):
        FileSource(tmp_path / "a.txt", 0.2, live=False)
    middle = len(data) // 2
    (tmp_path / "broken.flac").write_bytes(data[:middle])
    source, seconds = FileSource(tmp_path / "broken.flac", 0.2, live=False), 0.0
    with contextlib.suppress(MediaError):  # said or not by the decoder
        for piece in source.pieces():
            seconds += len(piece.samples) / piece.rate
    assert 8.0 < seconds < 11.0


def piped(data: bytes, **options: Any) -> PipeSource:
    read, write = os.pipe()
    chosen: dict[str, Any] = {"rate": RATE, "channels": 1, "piece": 0.04, "silence_after": 5.0} | options
    source = PipeSource(os.fdopen(read, "rb"), **chosen)

    def send() -> None:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=send, daemon=True).start()
    return source


def test_a_pipe_of_plain_samples(caplog):
    sound = (talk(3.0) * 32767).astype("<i2")
    samples, rates = heard(piped(sound.tobytes() + b"\x01", rate=48_000))
    assert set(rates) == {48_000}
    np.testing.assert_array_equal(samples, sound)
    two = np.stack([sound, sound[::-1]], 1)
    pieces = list(piped(two.tobytes(), channels=2).pieces())
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), two)


@pytest.mark.parametrize(("kind", "subtype"), [("<i2", "PCM_16"), ("<f4", "FLOAT")])
def test_a_pipe_of_a_wav(kind, subtype):
    sound, file = talk(1.0, 22_050), io.BytesIO()
    soundfile.write(file, sound, 22_050, format="WAV", subtype=subtype)
    samples, rates = heard(piped(file.getvalue()))
    assert set(rates) == {22_050}
    samples = samples / 32768 if kind == "<i2" else samples
    np.testing.assert_allclose(samples, sound, atol=1e-4)


def test_a_wav_of_unknown_length_and_broken_headers():
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, RATE, 0, "NONE", ""))
        written.writeframes((talk(0.5) * 32767).astype("<i2").tobytes())
    data = bytearray(file.getvalue())
    data[40:44] = struct.pack("<I", 0xFFFFFFFF)  # as programs write that do not know it yet
    assert len(heard(piped(bytes(data)))[0]) == RATE // 2
    for broken, words in (
        (bytes(data[:30]), "ends within its header"),
        (b"RIFF\0\0\0\0AVI ", "no WAV"),
        (bytes(data[:34]) + struct.pack("<H", 24) + bytes(data[36:]), "24 bits"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "does not say"),
    ):
        with pytest.raises(MediaError, match=words):
            heard(piped(broken))


def test_who_brings_nothing_is_answered_by_silence_and_goes_on_later():
    source, pieces = Arriving(piece=0.05, silence_after=0.2, waits=True), []
    begun = time.monotonic()

    def bring() -> None:
        source.bring(np.ones(1600, np.float32), RATE)
        time.sleep(0.6)
        source.bring(np.ones(1600, np.float32), RATE)
        source.end()

    thread = threading.Thread(target=bring)
    thread.start()
    for piece in source.pieces():
        pieces.append((piece.samples.any(), len(piece.samples) / RATE, time.monotonic() - begun))
    thread.join()
    spoken = [index for index, piece in enumerate(pieces) if piece[0]]
    assert spoken == [0, len(pieces) - 1]
    assert source.stalls == 1
    silence = sum(piece[1] for piece in pieces if not piece[0])
    assert source.silence == pytest.approx(silence)
    assert pieces[1][1] == pytest.approx(0.2)  # all that was waited for, then piece by piece in time
    assert silence <= pieces[-1][2] + 0.05
    assert silence >= 0.35
    source = Arriving(piece=0.05, silence_after=0.1, waits=True)
    threading.Timer(0.5, source.stop).start()
    assert all(not piece.samples.any() for piece in source.pieces())
    assert source.stalls == 1


def test_sound_that_nobody_takes_waits_or_is_lost_and_counted():
    piece = np.ones(RATE // 10, np.float32)
    source = Arriving(piece=0.05, silence_after=1.0, waits=False)
    for _ in range(50):
        source.bring(piece, RATE)
    source.end()
    samples, _ = heard(source)
    assert len(samples) / RATE == pytest.approx(HELD, abs=0.11)
    assert source.lost == pytest.approx(5.0 - HELD, abs=0.11)
    waiting = Arriving(piece=0.05, silence_after=1.0, waits=True)

    def bring() -> None:
        for _ in range(50):
            waiting.bring(piece, RATE)
        waiting.end()

    thread = threading.Thread(target=bring)
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive()
    assert waiting._seconds <= HELD + 0.11
    assert len(heard(waiting)[0]) / RATE == pytest.approx(5.0)
    thread.join()
    assert waiting.lost == 0


def microphone(**changes: Any) -> Any:
    """A module like sounddevice whose microphone brings ones."""
    module = types.ModuleType("sounddevice")

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, **options: Any):
            self.options = options
            module.opened = self  # type: ignore[attr-defined]

        def start(self) -> None:
            size = self.options["blocksize"]
            self.thread = threading.Thread(
                target=lambda: [self.options["callback"](np.ones((size, 1), np.float32), size, None, None)] * 3
            )
            self.thread.start()

        def close(self) -> None:
            self.closed = True
            self.options["finished_callback"]()

    def check(**options: Any) -> None:
        if options["samplerate"] != changes.get("rate", 16_000):
            raise PortAudioError("Invalid sample rate")

    def query(device: Any, kind: str) -> dict[str, Any]:
        if device == "none":
            raise ValueError("No input device matching 'none'")
        return {"default_samplerate": 48_000.0}

    for name, value in {
        "PortAudioError": PortAudioError, "InputStream": InputStream, "check_input_settings": check,
        "query_devices": query,
    }.items():  # fmt: skip
        setattr(module, name, value)
    return module


def test_a_microphone(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", module := microphone())
    source = MicrophoneSource(None, 16_000, 0.04, 0.5)
    pieces = source.pieces()
    piece = next(pieces)
    assert piece.rate == 16_000
    assert piece.samples.shape == (640, 1)
    pieces.close()
    assert module.opened.closed
    monkeypatch.setitem(sys.modules, "sounddevice", module := microphone(rate=48_000))
    source = MicrophoneSource("2", 16_000, 0.04, 0.5)  # its own rate where it has not the other
    assert next(source.pieces()).rate == 48_000
    assert module.opened.options["device"] == 2
    gone = MicrophoneSource(None, 16_000, 0.04, 0.5)
    module.opened.options["finished_callback"]()
    with pytest.raises(MediaError, match="the microphone is gone"):
        heard(gone)
    with pytest.raises(ConfigError, match="none cannot be used"):
        MicrophoneSource("none", 16_000, 0.04, 0.5)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigError, match="pip install sounddevice"):
        MicrophoneSource(None, 16_000, 0.04, 0.5)


def frame(number: int, size: int = 32) -> Frame:
    picture = np.full((size, size, 3), 40 + 2 * (number % 100), np.uint8)
    return Frame(number, picture, True, 0.1 * np.ones(1764, np.float32), 0.0)


def write_all(output: VideoOutput, numbers: range) -> None:
    for number in numbers:
        output.write(frame(number))


def test_a_video(tmp_path):
    output = VideoOutput(tmp_path / "new" / "a.mp4", 25.0, 44_100, {"ai_generated": True})
    assert not (tmp_path / "new").exists()  # begun with the first frame
    for number in range(30):
        output.write(frame(number))
    output.close()
    output.close()
    frames = list(read_frames(tmp_path / "new" / "a.mp4"))
    assert [round(float(each.mean())) for each in frames] == pytest.approx([40 + 2 * n for n in range(30)], abs=4)
    assert len(read_audio(tmp_path / "new" / "a.mp4", 44_100)) == pytest.approx(30 * 1764, abs=2048)
    assert read_metadata(tmp_path / "new" / "a.mp4") == {"ai_generated": True}
    with pytest.raises(MediaError, match="even height"):
        VideoOutput(tmp_path / "odd.mp4", 25.0, 44_100, {}).write(frame(0, 33))


WRITER = """
import sys, time, types
import numpy as np
from pathlib import Path
from trainers.streaming.outputs import VideoOutput
target = sys.stdout.buffer if sys.argv[1] == "-" else Path(sys.argv[1])
output = VideoOutput(target, 25.0, 44100, {"ai_generated": True})
for number in range(100000):
    picture = np.full((32, 32, 3), number % 256, np.uint8)
    output.write(types.SimpleNamespace(picture=picture, sound=np.zeros(1764, np.float32)))
    if number == 40:
        print("written", file=sys.stderr, flush=True)
        time.sleep(60)
"""


def test_a_video_is_whole_up_to_its_last_fragment_when_its_process_is_killed(tmp_path):
    path = tmp_path / "a.mp4"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stderr=subprocess.PIPE, env=_environment()
    ) as process:
        assert b"written" in process.stderr.readline()
        os.kill(process.pid, signal.SIGKILL)
    frames = list(read_frames(path))
    assert 24 <= len(frames) <= 41  # of 41, fragments are 12 frames long
    assert read_metadata(path) == {"ai_generated": True}
    assert len(read_audio(path)) > 0.8 * 24 / 25 * 16_000


def test_a_pipe_gets_each_frame_at_once_and_may_leave():
    read, write = os.pipe()
    output = VideoOutput(os.fdopen(write, "wb", buffering=0), 25.0, 44_100, {})
    got = bytearray()
    sizes = []
    for number in range(20):
        output.write(frame(number))
        got += os.read(read, 1 << 20)
        sizes.append(len(got))
    assert np.all(np.diff(sizes) > 0)
    assert 18 <= len(list(read_frames(bytes(got)))) <= 20
    os.close(read)
    with pytest.raises(OutputGone, match="reader of the pipe has left"):
        write_all(output, range(20, 200))


def test_a_full_disk_is_a_fault_of_the_system():
    output = VideoOutput(Path("/dev/full"), 25.0, 44_100, {})
    with pytest.raises(OSError, match="No space left"):
        write_all(output, range(1000))


def test_other_places_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"ends in \.mp4, - for standard output, or window"):
        output_of("a.avi", 25.0, 44_100, {})
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="output=window"):
        output_of("window", 25.0, 44_100, {})


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
