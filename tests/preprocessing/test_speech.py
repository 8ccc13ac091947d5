"""Speech features: in step with the frames, finite, and what they are said to be."""

import numpy as np
import pytest

from datamodules.clip import ClipInfo, check
from preprocessing.speech.handcrafted import (
    BEAT,
    CHROMA,
    HOP,
    MFCC,
    ONSET_PEAK,
    ONSET_STRENGTH,
    Handcrafted,
    features,
    long_features,
)
from preprocessing.step import Draft, SourceFile

RATE = 16_000


def clicks(seconds: float, every: float, first: float = 0.4) -> np.ndarray:
    """Short bursts of noise, one every `every` seconds."""
    random = np.random.default_rng(0)
    audio = 0.001 * random.standard_normal(round(seconds * RATE)).astype(np.float32)
    for start in np.arange(first, seconds - 0.1, every):
        at = round(start * RATE)
        audio[at : at + 800] += 0.5 * random.standard_normal(800).astype(np.float32) * np.exp(-np.arange(800) / 200)
    return audio.clip(-1, 1)


def draft(tmp_path, audio, frames: int, fps: float) -> Draft:
    info = ClipInfo(id="a", source="a.mp4", end=frames / fps, fps=fps, frames=frames)
    return Draft(info=info, video=b"", fps=fps, audio=audio, source=SourceFile(tmp_path / "a.mp4", "a.mp4", tmp_path))


@pytest.mark.paper("MMGT-6")
def test_35_features_per_frame_in_the_stated_order():
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE).astype(np.float32)
    audio = np.concatenate([np.zeros(RATE, np.float32), tone])
    values = features(audio, 100, 25)
    assert values.shape == (100, 35)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    # 440 Hz is an A: the tenth of the twelve pitch classes from C on.
    assert values[60, CHROMA].argmax() == 9
    assert np.linalg.norm(values[60, CHROMA]) == pytest.approx(1, abs=1e-3)
    # The tone sets in at one second: the only onset is there, and the first MFCC (loudness) jumps.
    assert abs(int(values[:, ONSET_STRENGTH].argmax()) - 25) <= 2
    assert values[60, MFCC][0] > values[5, MFCC][0] + 20
    assert set(np.unique(values[:, [ONSET_PEAK, BEAT]])) <= {0.0, 1.0}


@pytest.mark.paper("MMGT-6")
@pytest.mark.parametrize("fps", [25, 30, 24, 23.976, 50])
def test_onsets_fall_on_the_frames_that_show_them(fps):
    frames = round(8 * fps)
    values = features(clicks(8, 0.8), frames, fps)
    assert values.shape == (frames, 35)
    marked = np.flatnonzero(values[:, ONSET_PEAK]) / fps
    for start in np.arange(0.4, 7.9, 0.8):
        assert np.abs(marked - start).min() <= 0.09, f"no onset near {start:.1f} s at {fps} fps"
    assert values[:, BEAT].sum() >= 3


def test_other_frame_rates_give_the_same_features_between_the_steps():
    audio = clicks(4, 0.5)
    at_25, at_50 = features(audio, 100, 25), features(audio, 200, 50)
    np.testing.assert_allclose(at_50[::2, :33], at_25[:, :33], atol=1e-4)
    np.testing.assert_allclose(at_50[1:-1:2, :33], (at_25[:-1, :33] + at_25[1:, :33]) / 2, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 7, 60])
def test_silence_and_the_shortest_clips_are_finite(frames):
    values = features(np.zeros(frames * HOP, np.float32), frames, 25)
    assert values.shape == (frames, 35)
    assert np.isfinite(values).all()
    assert not values[:, [ONSET_STRENGTH, ONSET_PEAK, BEAT]].any()


def test_sound_of_another_length_is_cut_or_filled():
    audio = clicks(4, 0.5)
    np.testing.assert_array_equal(features(audio, 50, 25), features(audio[: 50 * HOP], 50, 25))
    assert features(audio[:100], 50, 25).shape == (50, 35)


def test_same_sound_same_bytes():
    audio = clicks(3, 0.5)
    assert features(audio, 75, 25).tobytes() == features(audio, 75, 25).tobytes()


def test_bad_sound_is_named():
    with pytest.raises(ValueError, match="finite mono"):
        features(np.zeros((2, 100), np.float32), 5, 25)
    with pytest.raises(ValueError, match="finite mono"):
        features(np.array([0.0, np.nan], np.float32), 5, 25)
    with pytest.raises(ValueError, match="positive"):
        features(np.zeros(100, np.float32), 0, 25)


def test_step_adds_an_array_that_keeps_the_schema(tmp_path):
    clip = draft(tmp_path, clicks(2, 0.5), 50, 25)
    Handcrafted()(clip)
    check("speech.npz", clip.arrays["speech.npz"], clip.info)
    silent = draft(tmp_path, None, 50, 25)
    Handcrafted()(silent)
    assert "speech.npz" not in silent.arrays


def test_long_sound_is_heard_in_blocks_that_agree_with_the_whole():
    random = np.random.default_rng(0)
    times = np.arange(70 * 16_000) / 16_000
    audio = 0.3 * np.sin(2 * np.pi * 200 * times) * (np.sin(2 * np.pi * 2 * times) > 0) + random.normal(
        0, 0.01, len(times)
    )
    audio = audio.astype(np.float32)
    whole, blocks = features(audio, 1750), long_features(audio, 1750)
    assert blocks.shape == (1750, 35)
    near = np.abs(blocks[:, :21] - whole[:, :21]).max(1) < 1e-2 * np.abs(whole[:, :21]).max()
    assert near.mean() > 0.99  # onset strength and MFCC are local but for the largest value that MFCC is cut at
    assert np.array_equal(long_features(audio[: 28 * 16_000], 700), features(audio[: 28 * 16_000], 700))
    odd = long_features(audio[: 61 * 16_000], round(61 * 29.97), 29.97)
    assert odd.shape == (round(61 * 29.97), 35)
    assert np.isfinite(odd).all()


@pytest.mark.paper("MMGT-6")
@pytest.mark.parametrize("fps", [25, 30])
def test_every_column_has_the_frames_step(fps):
    """Heard 4 s later, every column says the same 4 s of frames later; with another step none would."""
    random, times = np.random.default_rng(0), np.arange(14 * RATE) / RATE
    pitch = np.where(times % 1.4 < 0.7, 261.63, 369.99)  # C and F sharp, so that tuning is no matter of chance
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.9 * times))
    audio = (tone + clicks(14, 0.5) + 0.01 * random.standard_normal(len(times))).clip(-1, 1).astype(np.float32)
    early = features(audio[: 10 * RATE], 10 * fps, fps)[6 * fps : 8 * fps]
    late = features(audio[4 * RATE :], 10 * fps, fps)[2 * fps : 4 * fps]
    smooth = slice(ONSET_STRENGTH, CHROMA.stop)
    spread = early[:, smooth].std(0)
    apart = np.abs(early - late)[:, smooth].max(0)
    assert (apart <= 0.05 * spread + 0.02).all(), np.flatnonzero(apart > 0.05 * spread + 0.02)
    assert (np.abs(early - np.roll(early, 1, 0))[:, :21].max(0) > 0.05 * spread[:21] + 0.02).all(), "one frame shows"
    for column in (ONSET_PEAK, BEAT):
        one, other = np.flatnonzero(early[:, column]), np.flatnonzero(late[:, column])
        assert len(one) >= 3
        assert all(np.abs(other - place).min() <= 1 for place in one if 2 <= place < 2 * fps - 2)


@pytest.mark.paper("MMGT-6")
@pytest.mark.parametrize("fps", [25, 30])
def test_loudness_and_pitch_change_when_the_sound_does(fps):
    """At 6 s a quiet C becomes a loud F sharp; frame t is the sound around t / fps."""
    times = np.arange(10 * RATE) / RATE
    audio = np.where(times < 6, 0.03 * np.sin(2 * np.pi * 261.63 * times), 0.5 * np.sin(2 * np.pi * 369.99 * times))
    hiss = np.random.default_rng(0).standard_normal(len(times)) * np.where(times < 6, 0.003, 0.05)
    values = features((audio + hiss).astype(np.float32), 10 * fps, fps)
    loud = values[:, MFCC.start]
    crossed = np.flatnonzero(loud > (loud[3 * fps] + loud[8 * fps]) / 2)[0]
    assert abs(crossed - 6 * fps) <= 0.1 * fps  # a window of 2,048 samples reaches 64 ms either way
    chroma = values[:, CHROMA]
    assert chroma[3 * fps].argmax() == 0
    assert chroma[8 * fps].argmax() == 6
    assert abs(np.flatnonzero(chroma.argmax(1) == 6)[0] - 6 * fps) <= 0.4 * fps  # CENS is a mean over 1.6 s
