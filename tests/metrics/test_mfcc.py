"""SyncNet's speech features: equal to python_speech_features."""

import numpy as np
import pytest

from metrics.mfcc import speech_mfcc


def sound(samples: int = 1200) -> np.ndarray:
    at = np.arange(samples)
    return np.round(8000 * np.sin(at**1.5 / 50) + 2000 * np.cos(at / 3)).astype(np.int16)


# What python_speech_features 0.6 gives: the first and the last row of mfcc(sound(), 16000).
MEASURED = """
 20.8285968072  15.4467430292 -31.3642171453 -40.8750625043  -4.005334404   12.9284954034
 -3.3392006963 -16.7838260963  -4.5168338339   7.6505385335   1.8133562994  -8.297155465   -5.5052969362
 22.3784515894  -8.2448134246 -39.0763630981  19.2441172139   2.77079036   -37.0574209211
 21.4923351891  39.4753706724 -24.6241383599 -26.2594858064   3.7202369018 -11.0870312511  -5.5128835807
"""


@pytest.mark.paper("IM-19")
def test_equals_what_the_package_gave():
    found = speech_mfcc(sound())
    assert found.shape == (6, 13)
    np.testing.assert_allclose(found[[0, -1]].ravel(), np.array(MEASURED.split(), float), atol=1e-8)


def by_hand(audio: np.ndarray) -> np.ndarray:
    """Loops over windows, filters and coefficients, from the definition."""
    audio = audio.astype(float)
    emphasised = np.array([audio[0]] + [audio[n] - 0.97 * audio[n - 1] for n in range(1, len(audio))])
    count = 1 if len(audio) <= 400 else 1 + int(np.ceil((len(audio) - 400) / 160))
    emphasised = np.concatenate([emphasised, np.zeros((count - 1) * 160 + 400)])
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    corners = [int(513 * 700 * (10 ** (mel / 2595) - 1) / 16_000) for mel in mels]
    rows = []
    for window in range(count):
        spectrum = np.fft.fft(emphasised[window * 160 :][:400], 512)[:257]
        power = np.abs(spectrum) ** 2 / 512
        energies = []
        for left, middle, right in zip(corners, corners[1:], corners[2:]):
            energy = sum(power[k] * (k - left) / (middle - left) for k in range(left, middle))
            energy += sum(power[k] * (right - k) / (right - middle) for k in range(middle, right))
            energies.append(np.log(energy or np.finfo(float).eps))
        row = [np.log(power.sum() or np.finfo(float).eps)]
        for k in range(1, 13):
            angles = np.pi * k * (2 * np.arange(26) + 1) / 52
            coefficient = np.sqrt(2 / 26) * np.dot(energies, np.cos(angles))
            row.append(coefficient * (1 + 11 * np.sin(np.pi * k / 22)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("samples", [1, 399, 400, 401, 640, 720, 721, 5000])
def test_equals_the_definition_at_every_length(samples):
    expected = by_hand(sound(samples))
    np.testing.assert_allclose(speech_mfcc(sound(samples)), expected, rtol=1e-7, atol=1e-7)


def test_silence_has_numbers():
    assert np.isfinite(speech_mfcc(np.zeros(800, np.int16))).all()


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros((2, 800))])
def test_wrong_audio_is_named(audio):
    with pytest.raises(ValueError, match="mono and not empty"):
        speech_mfcc(audio)
