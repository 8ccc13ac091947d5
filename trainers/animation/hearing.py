"""What a network hears of a sound file: hand-crafted features, layers of a pretrained speech network, or both."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from datamodules.media.files import SAMPLE_RATE
from preprocessing.speech.pretrained import RATE, PretrainedSpeech
from pretrained.exports import Export
from settings import ConfigError

WHERE: Final = "the folder or hub name that preprocessing made them with, such as facebook/wav2vec2-large-960h"


def layer_numbers(settings: Mapping[str, Any]) -> list[int] | None:
    """Which layers a run read of those that its shards hold (`data.speech_layers`); all of them where None."""
    return settings.get("data", {}).get("speech_layers")


def mean_layer(speech: Mapping[str, np.ndarray], numbers: Sequence[int] | None, clip_id: str) -> np.ndarray:
    """Mean (S, C) of layers of a clip's speech.npz, as networks take it.

    Args:
        speech: its arrays.
        numbers: which layers; all that are stored where None.
        clip_id: for the message.

    Raises:
        ConfigError: it has no layers, or not these.
    """
    stored = speech["layer_ids"].tolist() if "layers" in speech else []
    wanted = stored if numbers is None else list(numbers)
    if not wanted or not set(wanted) <= set(stored):
        raise ConfigError(
            f"{clip_id} holds {f'layers {stored}' if stored else 'no layers'} of a pretrained speech network, not "
            f"{wanted or 'any'}, which the network listens to; give data=SHARDS that do"
        )
    return speech["layers"][[stored.index(number) for number in wanted]].astype(np.float32).mean(0)


def handcrafted(audio: np.ndarray, fps: float) -> np.ndarray:
    """Hand-crafted features (T, 35) at so many frames a second of sound (N,) at 16 kHz."""
    from preprocessing.speech.handcrafted import features

    return features(audio, max(1, round(len(audio) / SAMPLE_RATE * fps)), fps)


class PretrainedHearing:
    """Makes the layers that a network was trained on.

    Args:
        export: the trained network; its run says which layers.
        model: folder or hub name of the speech network they came from.
        channels: of each layer, as the trained network wants them.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: no model is given, it cannot be loaded, or it has other channels.
    """

    def __init__(self, export: Export, model: str | None, channels: int, device: str = "auto"):
        if model is None:
            raise ConfigError(
                f"{export.name} listens to layers of a pretrained speech network: give speech=MODEL, {WHERE}"
            )
        self._speech = PretrainedSpeech(model, layer_numbers(export.settings) or "all", device=device)
        if self._speech.channels != channels:
            raise ConfigError(
                f"speech={model} gives {self._speech.channels} channels, {export.name} was trained on {channels}; give "
                f"{WHERE}"
            )

    def layers(self, audio: np.ndarray) -> np.ndarray:
        """All of them, (L, S, C) float16 at 50 a second, of sound (N,) at 16 kHz."""
        return self._speech.features(audio, max(1, round(len(audio) / SAMPLE_RATE * RATE)))

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        """Mean (S, C) over the layers, at 50 a second, of sound (N,) at 16 kHz."""
        return self.layers(audio).astype(np.float32).mean(0)


def layers_wanted(export: Export, model: str | None, channels: int, device: str) -> PretrainedHearing | None:
    """What makes the layers that a network listens to; None where it wants none (0 channels). Raises ConfigError."""
    if channels:
        return PretrainedHearing(export, model, channels, device)
    if model is not None:
        raise ConfigError(
            f"speech={model}: {export.name} listens to hand-crafted features, or hears no sound here; leave it out"
        )
    return None
