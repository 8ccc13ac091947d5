"""35 hand-crafted speech features per video frame; no weights are needed (MMGT-6)."""

import warnings
from typing import Final

import numpy as np

from datamodules.media.hearing import librosa
from preprocessing.step import Draft

SAMPLE_RATE: Final = 16_000
RATE: Final = 25
"""Frames a second at which librosa computes; one step of 640 samples is exactly one video frame at 25 fps."""
HOP: Final = SAMPLE_RATE // RATE
CHANNELS: Final = 35
BLOCK_SECONDS: Final = 20.0
MARGIN_SECONDS: Final = 4.0
ONSET_STRENGTH: Final = 0
MFCC: Final = slice(1, 21)
CHROMA: Final = slice(21, 33)
ONSET_PEAK: Final = 33
BEAT: Final = 34


class Handcrafted:
    """The 35 features of `features`, as array `handcrafted` of `speech.npz`. A clip without sound gets none."""

    def __call__(self, draft: Draft) -> None:
        """Add the features of the clip's sound."""
        if draft.audio is not None:
            self.add(draft.arrays.setdefault("speech.npz", {}), draft.audio, draft.info.frames, draft.fps)

    def add(self, arrays: dict[str, np.ndarray], audio: np.ndarray, frames: int, fps: float) -> None:
        """Add `handcrafted` (T, 35) of sound (N,), 16 kHz mono, to the arrays of `speech.npz`."""
        arrays["handcrafted"] = features(audio, frames, fps)


def features(audio: np.ndarray, frames: int, fps: float = 25.0) -> np.ndarray:
    """Hand-crafted speech features, one row for every video frame (MMGT-6).

    Row t describes the sound around the moment t / fps at which frame t appears. At 25 fps librosa's steps are the
    video frames. At any other rate the features are computed at 25 steps a second all the same, so that their scale
    does not depend on fps; the first 33 are interpolated to the frames, onsets and beats are marked at the nearest
    frame.

    Args:
        audio: (N,) in [-1, 1], 16 kHz mono; cut or filled with silence to the length of the frames.
        frames: T.
        fps: video frames a second.

    Returns:
        (T, 35) float32: onset strength (0), 20 MFCC (1 to 20), 12 chroma CENS (21 to 32), onset peak 0 or 1 (33),
        beat 0 or 1 (34). Always finite; silence has no onsets and no beats.

    Raises:
        ValueError: audio that is not (N,), or not finite; no frames.
    """
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not np.isfinite(audio).all():
        raise ValueError(f"speech features want finite mono sound of shape (N,), got shape {audio.shape}")
    if frames < 1 or fps <= 0:
        raise ValueError(f"speech features of {frames} frames at {fps} fps: both have to be positive")
    samples = round(frames / fps * SAMPLE_RATE)
    steps = max(1, int(np.ceil(frames / fps * RATE)))
    # Silence at the end, so that librosa's longest window (over 2 s) fits into the shortest clips.
    sound = np.zeros((steps + 3 * RATE) * HOP, np.float32)
    sound[: min(samples, len(audio))] = audio[:samples]
    smooth, onsets, beats = _analyse(sound, steps)
    times = np.arange(frames) * (RATE / fps)
    result = np.zeros((frames, CHANNELS), np.float32)
    result[:, : CHROMA.stop] = _at(smooth, times)
    for column, marks in ((ONSET_PEAK, onsets), (BEAT, beats)):
        marked = np.rint(marks * (fps / RATE)).astype(int)
        result[marked[marked < frames], column] = 1
    return result


def long_features(audio: np.ndarray, frames: int, fps: float = 25.0) -> np.ndarray:
    """As `features`, for sound of any length in memory that does not grow: 20 s at a time, with 4 s on either side.

    Clips of a data set are at most 30 s long, so tempo and tuning are also estimated over no more than that. Up to 28 s
    it is `features`.
    """
    block, margin = round(BLOCK_SECONDS * fps), round(MARGIN_SECONDS * fps)
    if frames <= block + 2 * margin:
        return features(audio, frames, fps)
    parts = []
    for start in range(0, frames, block):
        first, last = max(0, start - margin), min(frames, start + block + margin)
        heard = audio[round(first / fps * SAMPLE_RATE) : round(last / fps * SAMPLE_RATE)]
        parts.append(features(heard, last - first, fps)[start - first : start - first + block])
    return np.concatenate(parts)


def _analyse(sound: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (steps, 33), the steps with an onset and those with a beat, at 25 steps a second."""
    hear = librosa()  # takes seconds to load
    loud = np.abs(sound).max() > 1e-4
    with warnings.catch_warnings():
        # Silence has no tuning to estimate; that is not worth a warning a clip.
        warnings.filterwarnings("ignore", message="Trying to estimate tuning from empty frequency set")
        strength = hear.onset.onset_strength(y=sound, sr=SAMPLE_RATE, hop_length=HOP)
        mfcc = hear.feature.mfcc(y=sound, sr=SAMPLE_RATE, hop_length=HOP, n_mfcc=20)
        chroma = hear.feature.chroma_cens(y=sound, sr=SAMPLE_RATE, hop_length=HOP, n_chroma=12)
    strength, mfcc, chroma = strength[:steps], mfcc[:, :steps], chroma[:, :steps]
    onsets = beats = np.empty(0, int)
    if loud and strength.any():
        onsets = hear.onset.onset_detect(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)
        _, beats = hear.beat.beat_track(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)
    smooth = np.concatenate([strength[None], mfcc, chroma]).T
    return np.nan_to_num(smooth, nan=0.0, posinf=0.0, neginf=0.0), onsets, beats


def _at(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Rows of (S, C) at fractional times (T,), linearly between neighbours."""
    low = np.clip(np.floor(times).astype(int), 0, len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    share = np.clip(times - low, 0, 1)[:, None]
    return values[low] * (1 - share) + values[high] * share
