"""Sound for tests of animators."""

from pathlib import Path

import numpy as np
import soundfile


def write_voice(path: Path) -> Path:
    """Two seconds of something like speech, 44.1 kHz stereo."""
    times = np.arange(2 * 44_100) / 44_100
    voice = 0.4 * np.sin(2 * np.pi * 150 * times) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * times))
    soundfile.write(path, np.stack([voice, 0.5 * voice], 1), 44_100)
    return path
