"""The speech features that SyncNet was trained on: MFCC as `python_speech_features` makes them."""

from functools import cache
from typing import Final

import numpy as np

RATE: Final = 16_000
HOP: Final = 160
_LENGTH: Final = 400
_FFT: Final = 512
_FILTERS: Final = 26
COEFFICIENTS: Final = 13
_EMPHASIS: Final = 0.97
_LIFTER: Final = 22


def speech_mfcc(audio: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients, 100 a second.

    Equal to `python_speech_features.mfcc(audio, 16000)`: pre-emphasis 0.97, windows of 25 ms every 10 ms without a
    taper, power spectrum over 512 points, 26 triangular filters whose corners are whole FFT bins, log, orthonormal
    DCT-II, 13 coefficients, lifter 22, the first replaced by the log of the window's energy. librosa's differ in all
    of taper, padding, filters and lifter, and SyncNet's distances with them.

    Args:
        audio: (N,) 16-bit samples at 16 kHz, in [-32768, 32767], of any number type.

    Returns:
        (1 + ceil((N - 400) / 160), 13) float64; the last window is filled up with zeros.

    Raises:
        ValueError: no samples, or another shape.
    """
    from scipy.fft import dct

    audio = np.asarray(audio, np.float64)
    if audio.ndim != 1 or not len(audio):
        raise ValueError(f"audio is (samples,), mono and not empty; this is {audio.shape}")
    emphasised = np.append(audio[0], audio[1:] - _EMPHASIS * audio[:-1])
    count = 1 + max(0, -(-(len(audio) - _LENGTH) // HOP))
    padded = np.pad(emphasised, (0, max(0, (count - 1) * HOP + _LENGTH - len(audio))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _LENGTH)[::HOP][:count]
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    cepstrum = dct(_log(power @ _filters().T), type=2, norm="ortho")[:, :COEFFICIENTS]
    cepstrum *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER)
    cepstrum[:, 0] = _log(power.sum(1))
    return cepstrum


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values == 0, np.finfo(float).eps, values))


@cache
def _filters() -> np.ndarray:
    """Triangles (26, 257) evenly spaced in mel from 0 to 8 kHz."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), _FILTERS + 2)
    corners = np.floor((_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / RATE)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(_FFT // 2 + 1)
    rising = (bins >= left) & (bins < middle)
    falling = (bins >= middle) & (bins < right)
    return np.where(rising, (bins - left) / (middle - left), np.where(falling, (right - bins) / (right - middle), 0.0))
