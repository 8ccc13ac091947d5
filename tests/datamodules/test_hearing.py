"""Onsets are where sound starts, and several processes may load librosa for the first time at once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.media.hearing import audio_onsets

CODE = """
import numpy as np
from datamodules.media.hearing import librosa
strength = librosa().onset.onset_strength(y=np.random.default_rng(0).normal(size=48000).astype(np.float32), sr=16000)
tempo, beats = librosa().beat.beat_track(onset_envelope=strength, sr=16000)
print(len(beats), __import__("os").environ["NUMBA_CACHE_DIR"])
"""


def clicks(times: np.ndarray, seconds: float = 8.0) -> np.ndarray:
    audio = np.zeros(int(seconds * 16_000), np.float32)
    tone = np.sin(np.arange(1600) * 0.3) * np.exp(-np.arange(1600) / 300)
    for time in times:
        start = int(time * 16_000)
        audio[start : start + 1600] += 0.8 * tone[: len(audio) - start]
    return audio


def test_onsets_are_where_the_sound_starts() -> None:
    times = np.arange(0.5, 7.5, 0.5)
    found = audio_onsets(clicks(times))
    assert len(found) == len(times)
    assert np.abs(found - times).max() < 0.05
    assert len(audio_onsets(np.zeros(16_000, np.float32))) == 0


@pytest.mark.slow
def test_processes_that_start_together_leave_a_cache_that_works(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["TMPDIR"] = str(tmp_path)
    together = [
        subprocess.Popen([sys.executable, "-c", CODE], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {process.communicate(timeout=240)[0] for process in together}
    assert [process.returncode for process in together] == [0, 0, 0]
    later = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert said == {later.stdout}
    assert str(tmp_path) in later.stdout
    assert list(tmp_path.glob("cospeech-compiled-*/**/*.nbi"))
