"""Several processes may load librosa for the first time at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import numpy as np
from datamodules.media.hearing import librosa
strength = librosa().onset.onset_strength(y=np.random.default_rng(0).normal(size=48000).astype(np.float32), sr=16000)
tempo, beats = librosa().beat.beat_track(onset_envelope=strength, sr=16000)
print(len(beats), __import__("os").environ["NUMBA_CACHE_DIR"])
"""


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
