"""Pictures, sound and video: what is written is read back, and broken files get a clear message."""

import random
from pathlib import Path

import numpy as np
import pytest

from datamodules.media.files import (
    MediaError,
    encode_video,
    read_audio,
    read_frames,
    read_metadata,
    write_video,
)
from datamodules.media.picture import read_image


def frames(count: int = 25, height: int = 64, width: int = 96) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
    return [np.kron(np.roll(base, i, 1), np.ones((height // 8, width // 12, 1), np.uint8)) for i in range(count)]


def noise(seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
    raw = np.random.default_rng(1).normal(size=int(seconds * rate)) * 0.1
    return np.convolve(raw, np.ones(8) / 8, "same").astype(np.float32)


def test_picture_and_sound_stay_in_step(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames(), 25, noise(), metadata={"generated": True})
    back = list(read_frames(path))
    assert len(back) == 25
    assert np.abs(back[7].astype(int) - frames()[7]).mean() < 12
    sound = read_audio(path)
    match = np.correlate(sound, noise()[1000:9000], "valid")
    assert abs(int(np.argmax(match)) - 1000) <= 1
    assert read_metadata(path) == {"generated": True}


def test_the_same_frames_give_the_same_bytes() -> None:
    first = encode_video(frames(), 25)
    for _ in range(5):
        list(read_frames(first))  # leaves used memory behind, which an encoder may not depend on
        assert encode_video(frames(), 25) == first


def test_nothing_stands_under_the_final_name_when_writing_fails(tmp_path: Path) -> None:
    def broken():
        yield from frames(3)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_video(tmp_path / "a.mp4", broken(), 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frame", [np.zeros((63, 96, 3), np.uint8), None])
def test_odd_sizes_and_no_frames_are_refused(tmp_path: Path, frame: np.ndarray | None) -> None:
    with pytest.raises(MediaError, match=r"even height|at least one frame"):
        write_video(tmp_path / "a.mp4", [] if frame is None else [frame], 25)


@pytest.mark.parametrize("content", [b"", b"this is no video", bytes(random.Random(0).randbytes(5000))])
@pytest.mark.parametrize("read", [read_image, read_audio, lambda path: list(read_frames(path))])
def test_broken_files_are_named(tmp_path: Path, content: bytes, read) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        read(path)


@pytest.mark.parametrize("read", [read_image, read_audio, lambda path: list(read_frames(path))])
def test_missing_files_are_named(tmp_path: Path, read) -> None:
    with pytest.raises(MediaError, match=r"no (picture|sound file|video) at"):
        read(tmp_path / "nothing.wav")


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "silent.mp4", frames(5), 25)
    with pytest.raises(MediaError, match="has no sound"):
        read_audio(path)


def test_stereo_of_another_rate_is_mixed_and_resampled(tmp_path: Path) -> None:
    import soundfile

    time = np.arange(44100) / 44100
    left = np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left * 0], 1), 44100)
    sound = read_audio(tmp_path / "a.wav")
    assert abs(len(sound) - 16000) <= 32
    assert 0.3 < np.abs(sound).max() < 0.8
