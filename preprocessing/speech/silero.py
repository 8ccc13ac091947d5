"""Speech found by Silero's network, a file of the package `silero-vad` (MIT); nothing else of that is used."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from settings import ConfigError

WINDOW: Final = 512  # samples at 16 kHz: 32 ms
_BEFORE: Final = 64  # samples of the window before that the network sees again
_STATE: Final = 128


def speech_chances(audio: np.ndarray) -> np.ndarray:
    """The chance of speech in every 32 ms of sound.

    Args:
        audio: (N,) in [-1, 1], 16 kHz.

    Returns:
        (N // 512,) float32 in [0, 1].

    Raises:
        ConfigError: the package is not installed.
    """
    count = len(audio) // WINDOW
    if not count:
        return np.zeros(0, np.float32)
    padded = np.concatenate([np.zeros(_BEFORE), audio[: count * WINDOW]]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _BEFORE + WINDOW)[::WINDOW]
    state = np.zeros((1, 1, _STATE), np.float32)
    return session().run(["speech_probs"], {"input": np.ascontiguousarray(windows), "h": state, "c": state})[0]


def silero_share(audio: np.ndarray, chance: float = 0.5) -> float:
    """Share of the 32 ms windows of sound (N,), 16 kHz, in which speech is likelier than `chance`."""
    chances = speech_chances(audio)
    return float((chances > chance).mean()) if len(chances) else 0.0


@cache
def session() -> Any:
    """The network, loaded once in a process; it computes with one thread, as every worker does.

    Raises:
        ConfigError: the package is not installed.
    """
    import onnxruntime

    spec = find_spec("silero_vad")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    path = Path(places[0]) / "data" / "silero_vad_16k_sequence.onnx" if places else None
    if path is None or not path.is_file():
        raise ConfigError(
            "quality.speech_share=silero needs the package silero-vad 6.2.3 (pip install silero-vad==6.2.3); "
            "quality.speech_share=energy does without"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
