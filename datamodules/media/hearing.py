"""What librosa hears in sound, and librosa itself, loaded so that several processes may do it at once."""

import os
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np

_HOP: Final = 160  # 10 ms: onsets are placed more finely than video frames


def audio_onsets(audio: np.ndarray, sample_rate: int = 16_000) -> np.ndarray:
    """Times of speech onsets in seconds: librosa's peaks of the onset strength, at 10 ms steps (PH-20).

    Args:
        audio: (N,) in [-1, 1].
        sample_rate: of the audio.
    """
    if not np.any(audio):
        return np.zeros(0)
    return librosa().onset.onset_detect(y=np.asarray(audio, np.float32), sr=sample_rate, hop_length=_HOP, units="time")


@cache
def librosa() -> ModuleType:
    """The librosa package, its compiled functions ready.

    librosa keeps compiled functions in a cache on disk that does not stand two writers: started together for the
    first time, two processes leave a cache behind that crashes every later one. So the cache is one folder of user and
    machine, not the installed package (which a cluster shares), and whoever comes first fills it, the others wait.
    """
    from filelock import FileLock

    folder = Path(tempfile.gettempdir()) / f"cospeech-compiled-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():  # what is cached there would be run
        folder = Path(tempfile.mkdtemp(prefix="cospeech-compiled-"))
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
    with FileLock(folder / "lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the shortness of what is analysed here
        import librosa as package

        # Each part is compiled when it is first touched: touch all that the project uses.
        sound = np.sin(np.arange(32_000, dtype=np.float32) ** 1.2) * (np.arange(32_000) % 8_000 < 2_000)
        strength = package.onset.onset_strength(y=sound.astype(np.float32), sr=16_000, hop_length=640)
        package.feature.mfcc(y=sound.astype(np.float32), sr=16_000, hop_length=640, n_mfcc=20)
        package.feature.chroma_cens(y=sound.astype(np.float32), sr=16_000, hop_length=640, n_chroma=12)
        package.onset.onset_detect(onset_envelope=strength, sr=16_000, hop_length=640)
        package.beat.beat_track(onset_envelope=strength, sr=16_000, hop_length=640)
    return package
