"""Real speech with known sounds: espeak-ng, from the wheel `espeakng-loader`, through ctypes."""

import _ctypes
import ctypes
from dataclasses import dataclass
from typing import Final

import espeakng_loader
import numpy as np

from preprocessing.synthetic.phonemes import PAUSE, Phoneme

RATE: Final = 16_000
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8 = 2, 1, 1
_PHONEME = 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4


class SpeechError(RuntimeError):
    """espeak-ng could not speak; the message says what it was asked for."""


@dataclass(frozen=True)
class Voice:
    """How a speaker sounds.

    Args:
        name: espeak-ng's voice and variant, "en-us+f2".
        rate: words a minute, 80 to 260.
        pitch: 0 to 100, 50 is the variant's own.
        range: of the pitch, 0 monotonous to 100.
    """

    name: str = "en-us"
    rate: int = 160
    pitch: int = 50
    range: int = 50


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(text: str, voice: Voice) -> tuple[np.ndarray, list[Phoneme]]:
    """Say a sentence: (N,) float32 in [-1, 1] at 16 kHz, and its sounds in order, times in seconds.

    The same text and voice always give the same samples: espeak-ng carries state from one utterance to the next, so the
    library is loaded anew for each (4 ms). It is not made for threads; call it from one thread of a process.

    Raises:
        SpeechError: when the voice is unknown or nothing is spoken.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        samples, events, rate = _synthesise(library, text, voice)
    finally:
        library.espeak_Terminate()
        # Closing drops the library's global state; without it the next utterance would depend on this one.
        close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
        close(library._handle)
    sounds = _phonemes(events, len(samples), rate)
    if all(sound.pause for sound in sounds):
        raise SpeechError(f"espeak-ng spoke nothing for the text {text!r}; give it words of the voice's language")
    return _resample(samples, rate), sounds


def _synthesise(library: ctypes.CDLL, text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[int, int, str]], int]:
    pieces: list[np.ndarray] = []
    events: list[tuple[int, int, str]] = []

    def receive(wave, count, event) -> int:
        if count > 0:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while event[index].type:
            name = event[index].id.string.decode("utf-8", "replace") if event[index].type == _PHONEME else ""
            events.append((event[index].type, event[index].sample, name))
            index += 1
        return 0

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _PHONEME_EVENTS)
    if rate <= 0:
        raise SpeechError(f"espeak-ng did not start with its data at {espeakng_loader.get_data_path()}")
    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise SpeechError(f"espeak-ng has no voice {voice.name!r}; a voice looks like 'en-us+f2'")
    settings = ((_PARAMETER_RATE, voice.rate), (_PARAMETER_PITCH, voice.pitch), (_PARAMETER_RANGE, voice.range))
    for parameter, value in settings:
        library.espeak_SetParameter(parameter, value, 0)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16), events, rate


def _resample(samples: np.ndarray, rate: int) -> np.ndarray:
    from math import gcd

    from scipy.signal import resample_poly

    wave = samples.astype(np.float64) / 32768
    if rate != RATE:
        common = gcd(RATE, rate)
        wave = resample_poly(wave, RATE // common, rate // common)
    return np.clip(wave, -1, 1).astype(np.float32)


def _phonemes(events: list[tuple[int, int, str]], count: int, rate: int) -> list[Phoneme]:
    found: list[Phoneme] = []
    marks = [(sample / rate, name) for kind, sample, name in events if kind == _PHONEME and name]
    for index, (start, name) in enumerate(marks):
        end = marks[index + 1][0] if index + 1 < len(marks) else count / rate
        stress = 2 if "'" in name else 1 if "," in name else 0
        plain = name.lstrip("',%=|")
        plain = PAUSE if plain.startswith(PAUSE) or not plain else plain
        if end > start:
            found.append(Phoneme(plain, start, end, stress))
    return found
