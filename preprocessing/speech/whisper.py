"""The layers of Whisper's encoder as speech features, through transformers."""

from typing import Final

import numpy as np

from preprocessing.speech.handcrafted import Handcrafted
from preprocessing.speech.pretrained import HOP, RATE, SAMPLE_RATE, PretrainedSpeech, chosen_layers
from pretrained.hashes import tensors_hash
from pretrained.speech import load_whisper
from settings import ConfigError
from settings.device import device_of
from settings.ranges import Layer, NonNegative

HEARD: Final = 30.0
"""Seconds that Whisper reads at once; shorter sound is filled with silence."""


class WhisperSpeech(PretrainedSpeech):
    """Hidden states of Whisper's encoder at 50 Hz, beside the 35 hand-crafted features.

    As `PretrainedSpeech`; longer sound is worked on in pieces of 30 s, the context at both ends included.

    Args:
        model: folder or hub name of a Whisper model, "openai/whisper-tiny.en"; of the decoder nothing is used.
        layers: "all", or the numbers of the layers to keep; 0 is the input of the first transformer layer, -1 the
            last layer.
        context_seconds: what a piece sees of its neighbours on each side.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
    """

    def __init__(
        self,
        model: str,
        layers: str | list[Layer] = "all",
        context_seconds: NonNegative = 2.0,
        device: str = "auto",
    ) -> None:
        if isinstance(layers, str) and layers != "all":
            raise ConfigError(f"speech layers '{layers}': write 'all' or a list of numbers, [0, 6, -1]")
        if not 0 <= context_seconds < HEARD / 2:
            raise ConfigError(
                f"speech context_seconds has to be from 0 to under {HEARD / 2:g}, got {context_seconds:g}"
            )
        self.network, self.extractor = load_whisper(model, SAMPLE_RATE)
        self.normalize = False
        self.sha256 = tensors_hash(self.network)
        self.network.to(device_of(device)).eval()
        self.channels = self.network.config.d_model
        self.layer_ids = chosen_layers(layers, self.network.config.encoder_layers + 1, model)
        self.context = round(context_seconds * RATE)
        self.chunk = round(HEARD * RATE) - 2 * self.context
        self._handcrafted = Handcrafted()

    def features(self, audio: np.ndarray, steps: int) -> np.ndarray:
        """Hidden states of sound; see `PretrainedSpeech.features`."""
        import torch

        sound = np.zeros(steps * HOP, np.float32)
        sound[: min(len(sound), len(audio))] = audio[: len(sound)]
        device = next(self.network.parameters()).device
        pieces = []
        with torch.inference_mode():
            for start in range(0, steps, self.chunk):
                end = min(start + self.chunk, steps)
                low, high = max(0, start - self.context), min(steps, end + self.context)
                read = self.extractor(sound[low * HOP : high * HOP], sampling_rate=SAMPLE_RATE, return_tensors="pt")
                states = self.network(read.input_features.to(device), output_hidden_states=True).hidden_states
                kept = torch.stack([states[layer][0] for layer in self.layer_ids])
                pieces.append(kept[:, start - low : end - low].float().cpu())
        limit = float(np.finfo(np.float16).max)
        return torch.cat(pieces, 1).clamp(-limit, limit).numpy().astype(np.float16)
