"""How loud, how overdriven and how much like speech a sound is, and whether the lips go with it.

No network and no weights: energy in the speech band, its ups and downs, and lip opening. What that can and cannot tell
stands at `speech_share`.
"""

from typing import Final

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import stft

SAMPLE_RATE: Final = 16_000
_HOP: Final = 160  # 10 ms
_FLOOR: Final = -100.0  # dB; what digital silence counts as
_WINDOW: Final = 200  # steps of 10 ms in which ups and downs are measured
_BAND: Final = (200.0, 4000.0)  # Hz


def loudness(audio: np.ndarray) -> float:
    """Loudness of (N,) in dB of full scale: mean power of the 0.4 s blocks that are not pauses.

    Blocks under -70 dB, then those more than 10 dB under the mean of the rest, are left out as in ITU-R BS.1770; its
    weighting of frequencies is not applied. Digital silence is -100.
    """
    size, hop = round(0.4 * SAMPLE_RATE), round(0.1 * SAMPLE_RATE)
    audio = np.asarray(audio, np.float64)
    if len(audio) < size:
        audio = np.pad(audio, (0, size - len(audio)))
    power = np.lib.stride_tricks.sliding_window_view(audio**2, size)[::hop].mean(-1)
    power = power[power > 1e-7]
    if not len(power):
        return max(_FLOOR, _decibel(float((audio**2).mean())))
    return _decibel(float(power[power >= power.mean() / 10].mean()))


def clipped_share(audio: np.ndarray, level: float = 0.99, run: int = 3) -> float:
    """Share of the samples that stand at full scale, at least `run` of them in a row."""
    full = np.abs(audio) >= level
    edges = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= run].sum() / max(len(audio), 1))


def signal_to_noise(audio: np.ndarray) -> float:
    """How far the loud moments of a sound (N,), 16 kHz, stand above its quiet ones, in dB, at most 60.

    An estimate of the signal-to-noise ratio of speech, which always has pauses and stops: the energy of the speech
    band in steps of 10 ms, its 95th percentile against its 10th, what is quiet being taken for noise that the loud
    moments have in them, too. Noise alone has less than 0; music that plays under the speech counts as noise.
    """
    energy, _ = _band(audio)
    if len(energy) < 20:
        return 0.0
    loud, quiet = np.percentile(energy, (95, 10))
    return float(min(10 * np.log10(max(10 ** ((loud - quiet) / 10) - 1, 1e-3)), 60.0))


def speech_share(audio: np.ndarray, swing: float = 8.5, colour: float = 0.15, level: float = -60.0) -> float:
    """Share of the sound that sounds like clear speech.

    Windows of 2 s, one every half second, count when in them

    - the energy between 200 and 4,000 Hz goes up and down as syllables and pauses make it: its standard deviation in dB
      (10 ms steps, 40 dB under the peak at most) is at least `swing`;
    - its centre moves as vowels and consonants make it: by at least `colour` octaves (standard deviation);
    - its peaks reach `level` dB of full scale.

    Measured on the sample clips, clear speech has a swing of 9 to 16 dB, speech under noise 10 dB weaker 6 to 8,
    music 4 to 8, noise and hum under 1. So music and noise are told from clear speech; speech over loud music or in
    heavy noise is not recognised, and singing, laughter or an animal's calls can pass. Lips decide where this cannot.

    Args:
        audio: (N,), 16 kHz.
        swing: in dB.
        colour: in octaves.
        level: in dB of full scale.
    """
    energy, centre = _band(audio)
    if len(energy) < 20:
        return 0.0
    starts = range(0, max(1, len(energy) - _WINDOW + 1), _WINDOW // 4)
    speaks = []
    for start in starts:
        part, where = energy[start : start + _WINDOW], centre[start : start + _WINDOW]
        top = np.percentile(part, 95)
        heard = part > top - 20
        speaks.append(
            top > level and np.maximum(part, top - 40).std() >= swing and np.log2(where[heard]).std() >= colour
        )
    return float(np.mean(speaks))


def lip_audio_correlation(opening: np.ndarray, audio: np.ndarray, fps: float, lag: float = 0.1) -> float:
    """Correlation of lip opening with the energy of the speech band, slow changes taken off both.

    The best one of shifts up to `lag` seconds either way. Real talking clips have 0.1 to 0.4, seldom less; a sound that
    does not belong to the mouth about 0.

    Args:
        opening: (T,) lip opening of every frame.
        audio: (N,), 16 kHz, in step with the frames.
        fps: frames a second.
    """
    energy, _ = _band(audio)
    frames = len(opening)
    if frames < 8 or len(energy) < 20 or np.ptp(opening) == 0:
        return 0.0
    energy = np.maximum(energy, np.percentile(energy, 95) - 40)
    # Mean energy of the 10 ms steps of each frame.
    edges = np.clip(np.round(np.arange(frames + 1) / fps * SAMPLE_RATE / _HOP).astype(int), 0, len(energy))
    total = np.concatenate([[0], np.cumsum(energy)])
    count = np.maximum(np.diff(edges), 1)
    per_frame = (total[edges[1:]] - total[edges[:-1]]) / count
    second = max(3, round(fps))
    one = opening - uniform_filter1d(opening.astype(np.float64), second)
    two = per_frame - uniform_filter1d(per_frame, second)
    best = 0.0
    for shift in range(-round(lag * fps), round(lag * fps) + 1):
        a = one[max(0, shift) : frames + min(0, shift)]
        b = two[max(0, -shift) : frames + min(0, -shift)]
        spread = a.std() * b.std()
        if spread > 0:
            best = max(best, float(((a - a.mean()) * (b - b.mean())).mean() / spread))
    return best


def _band(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy in dB and its centre in Hz, of the speech band, every 10 ms."""
    if len(audio) < 400:
        return np.empty(0), np.empty(0)
    hertz, _, spectrum = stft(
        np.asarray(audio, np.float32), SAMPLE_RATE, nperseg=400, noverlap=400 - _HOP, nfft=512, boundary=None
    )
    power = np.abs(spectrum) ** 2
    band = (hertz >= _BAND[0]) & (hertz <= _BAND[1])
    power = power[band].astype(np.float64) + 1e-13
    total = power.sum(0)
    return 10 * np.log10(total), (hertz[band] @ power) / total


def _decibel(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-10)))
