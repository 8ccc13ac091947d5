"""Layers of a pretrained speech network for shards whose `speech.npz` lacks them, or has those of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from preprocessing.features.writer import Frames, Loaded
from preprocessing.speech.pretrained import PretrainedSpeech
from preprocessing.speech.whisper import WhisperSpeech
from pretrained.speech import WHISPER, kind_of
from settings import ConfigError
from settings.ranges import Layer


class SpeechWriter:
    """Layers of wav2vec 2.0, WavLM, HuBERT or Whisper, as `preprocessing.run` makes them with speech=[{name: ...}].

    The hand-crafted features that a clip has stay as they are; where it has none they are made.

    Args:
        layers: "all", or the numbers of the layers to keep; 0 is the input of the first transformer layer, -1 the
            last layer.
        normalize: bring the sound to mean 0 and variance 1 first; null takes what the model's own preprocessor says.
    """

    key: ClassVar[str] = "speech.npz"
    reads: ClassVar[tuple[str, ...]] = ("audio.flac",)
    also: ClassVar[tuple[str, ...]] = ("speech.npz",)
    batch: ClassVar[int] = 1

    def __init__(self, *, layers: str | list[Layer] = "all", normalize: bool | None = None) -> None:
        self.layers, self.normalize = layers, normalize

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; there are no frames."""
        speech: PretrainedSpeech
        if kind_of(network) == WHISPER:
            if self.normalize is not None:
                raise ConfigError("writer.normalize means nothing to Whisper, which reads mels; leave it out")
            speech = WhisperSpeech(network, self.layers, device="cpu")
        else:
            speech = PretrainedSpeech(network, self.layers, self.normalize, device="cpu")
        made_of = {"key": self.key, "layers": speech.layer_ids, "normalize": speech.normalize}
        return Loaded(speech.network, speech.sha256, Frames(), partial(layers_of, speech), made_of)


def layers_of(
    speech: PretrainedSpeech, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, np.ndarray]:
    """`handcrafted`, `layers` and `layer_ids`."""
    stored: Mapping[str, np.ndarray] = values.get("speech.npz", {})
    arrays = {name: value for name, value in stored.items() if name == "handcrafted"}
    speech.add(arrays, values["audio.flac"], info.frames, info.fps)
    return arrays
