"""What a speaker says in one clip: several sentences with pauses, recorded with that speaker's microphone."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from preprocessing.synthetic.phonemes import PAUSE, Phoneme
from preprocessing.synthetic.rule import beats
from preprocessing.synthetic.sentences import sentences
from preprocessing.synthetic.speakers import Speaker
from preprocessing.synthetic.speech import RATE, speak

_EMPHASIS = 10 ** (3.0 / 20)


@dataclass(frozen=True)
class Utterance:
    """The sound of one clip and what is known about it.

    Args:
        audio: (N,) float32 in [-1, 1], 16 kHz, N = round(frames / fps * 16000).
        frames: of the video that belongs to it.
        phonemes: every sound and pause in order, seconds from the start.
        captions: one a sentence: start, end (seconds), text.
    """

    audio: np.ndarray
    frames: int
    phonemes: list[Phoneme]
    captions: list[dict[str, Any]]


def utterance(
    speaker: Speaker, part: str, seconds: tuple[float, float], fps: float, generator: np.random.Generator
) -> Utterance:
    """Let a speaker talk for `seconds` (least, most) in sentences of one part (train, val, test)."""
    least, most = seconds
    wanted = float(generator.uniform(least, most))
    now = float(generator.uniform(0.2, 0.4))
    pieces: list[tuple[float, np.ndarray]] = []
    phonemes: list[Phoneme] = []
    captions: list[dict[str, Any]] = []
    source, misses = sentences(part, generator), 0
    while now < wanted and misses < 12:
        text = next(source)
        wave, sounds = speak(text, speaker.voice)
        tail = max((p.end for p in sounds if not p.pause), default=0.0)
        if now + tail + 0.15 > most:
            misses += 1
            continue
        pieces.append((now, wave))
        phonemes += [sound.shifted(now) for sound in sounds if not (sound.pause and sound.start >= tail - 1e-6)]
        captions.append({"start": round(now, 3), "end": round(now + tail, 3), "text": text})
        now += tail + float(generator.uniform(0.25, 0.6))
    spoken = float(captions[-1]["end"]) if captions else 0.0
    frames = min(ceil(max(least, spoken + 0.3) * fps), int(most * fps + 1e-6))
    total = round(frames / fps * RATE)
    audio = np.zeros(total, np.float64)
    for start, wave in pieces:
        at = round(start * RATE)
        audio[at : at + len(wave)] += wave[: max(total - at, 0)]
    return Utterance(
        _recorded(audio, phonemes, speaker, generator), frames, _with_pauses(phonemes, frames / fps), captions
    )


def _recorded(
    audio: np.ndarray, phonemes: list[Phoneme], speaker: Speaker, generator: np.random.Generator
) -> np.ndarray:
    """Beats said 3 dB louder, then the speaker's gain, a little room noise, and the microphone's limit."""
    times = np.arange(len(audio)) / RATE
    loudness = np.ones(len(audio))
    for beat in beats(phonemes):
        vowel = next(p for p in phonemes if p.start == beat)
        away = np.maximum(np.maximum(vowel.start - times, times - vowel.end), 0)
        loudness += (_EMPHASIS - 1) * np.clip(1 - away / 0.04, 0, 1)
    audio = speaker.gain * loudness * audio
    peak = float(np.abs(audio).max(initial=0))
    audio = audio * (min(1.0, 0.95 / peak) if peak > 0 else 1.0)
    noise = np.convolve(generator.normal(0, speaker.noise, len(audio) + 3), [0.25, 0.25, 0.25, 0.25], "valid")
    return (audio + noise).astype(np.float32)


def _with_pauses(phonemes: list[Phoneme], duration: float) -> list[Phoneme]:
    """Fill silence between sounds with pauses, so that the list covers the clip; no sound runs over its end."""
    filled, now = [], 0.0
    for sound in phonemes:
        if sound.start > now + 1e-6:
            filled.append(Phoneme(PAUSE, now, sound.start))
        filled.append(sound)
        now = sound.end
    if duration > now + 1e-6:
        filled.append(Phoneme(PAUSE, now, duration))
    return filled
