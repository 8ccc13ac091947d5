"""The layers of wav2vec 2.0, WavLM or HuBERT as speech features, through transformers."""

from typing import Any, Final

import numpy as np

from preprocessing.speech.handcrafted import Handcrafted
from preprocessing.step import Draft
from pretrained.hashes import tensors_hash
from pretrained.speech import load_speech_model
from settings import ConfigError
from settings.device import device_of
from settings.ranges import Layer, NonNegative, Positive

SAMPLE_RATE: Final = 16_000
RATE: Final = 50
HOP: Final = SAMPLE_RATE // RATE


class PretrainedSpeech:
    """Hidden states of a pretrained speech network at 50 Hz, beside the 35 hand-crafted features.

    Adds `layers` (L, S, C) float16, `layer_ids` (L,) and the network's hash to `speech.npz`, S = round(frames / fps *
    50). Step s stands for the 20 ms from s / 50 seconds on and is centred in them.

    Args:
        model: folder or hub name of a wav2vec 2.0, WavLM or HuBERT model, "microsoft/wavlm-large".
        layers: "all", or the numbers of the layers to keep; 0 is the input of the first transformer layer, -1 the
            last layer.
        normalize: bring the sound to mean 0 and variance 1 first; null takes what the model's own preprocessor says.
        chunk_seconds: longer sound is worked on in pieces of this length.
        context_seconds: what a piece sees of its neighbours on each side.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
    """

    def __init__(
        self,
        model: str,
        layers: str | list[Layer] = "all",
        normalize: bool | None = None,
        chunk_seconds: Positive = 30.0,
        context_seconds: NonNegative = 2.0,
        device: str = "auto",
    ) -> None:

        if isinstance(layers, str) and layers != "all":
            raise ConfigError(f"speech layers '{layers}': write 'all' or a list of numbers, [0, 6, -1]")
        if chunk_seconds <= 0 or context_seconds < 0:
            raise ConfigError("speech chunk_seconds has to be positive and context_seconds not negative")
        self.network, self.normalize = load_speech_model(model, normalize, SAMPLE_RATE)
        self.sha256 = tensors_hash(self.network)
        self.network.to(device_of(device)).eval()
        self.channels: int = self.network.config.hidden_size
        self.layer_ids = chosen_layers(layers, self.network.config.num_hidden_layers + 1, model)
        self.chunk, self.context = max(1, round(chunk_seconds * RATE)), round(context_seconds * RATE)
        self._handcrafted = Handcrafted()

    def __call__(self, draft: Draft) -> None:
        """Add the layers, and the hand-crafted features unless they are there; a clip without sound gets none."""
        if draft.audio is not None:
            self.add(draft.arrays.setdefault("speech.npz", {}), draft.audio, draft.info.frames, draft.fps)

    def add(self, arrays: dict[str, np.ndarray], audio: np.ndarray, frames: int, fps: float) -> None:
        """Add the same to the arrays of `speech.npz`, of sound (N,), 16 kHz mono, over T frames."""
        if "handcrafted" not in arrays:
            self._handcrafted.add(arrays, audio, frames, fps)
        arrays["layers"] = self.features(audio, round(frames / fps * RATE))
        arrays["layer_ids"] = np.array(self.layer_ids, np.int16)
        arrays["network"] = np.frombuffer(bytes.fromhex(self.sha256), np.uint8)

    def features(self, audio: np.ndarray, steps: int) -> np.ndarray:
        """Hidden states of sound (N,), 16 kHz mono in [-1, 1].

        Args:
            audio: cut or filled with silence to the length of the steps.
            steps: S, at 50 a second.

        Returns:
            (L, S, C) float16, in the order of `layer_ids`.
        """
        import torch

        sound = np.zeros(steps * HOP, np.float32)
        sound[: min(len(sound), len(audio))] = audio[: len(sound)]
        if self.normalize:
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        field, stride = _receptive_field(self.network.config)
        device = next(self.network.parameters()).device
        # With this margin the network gives one state for every 20 ms, centred in them.
        margin = max(0, field - HOP)
        padded = torch.from_numpy(np.pad(sound, (margin // 2, margin - margin // 2))).to(device)
        pieces = []
        with torch.inference_mode():
            for start in range(0, steps, self.chunk):
                end = min(start + self.chunk, steps)
                low, high = max(0, start - self.context), min(steps, end + self.context)
                states = self.network(
                    padded[None, low * HOP : high * HOP + margin], output_hidden_states=True
                ).hidden_states
                kept = torch.stack([states[layer][0] for layer in self.layer_ids])  # (L, steps of the piece, C)
                if stride != HOP or kept.shape[1] != high - low:
                    kept = torch.nn.functional.interpolate(
                        kept.transpose(1, 2), size=high - low, mode="linear", align_corners=False
                    ).transpose(1, 2)
                pieces.append(kept[:, start - low : end - low].float().cpu())
        limit = float(np.finfo(np.float16).max)
        return torch.cat(pieces, 1).clamp(-limit, limit).numpy().astype(np.float16)


def chosen_layers(layers: str | list[int], count: int, model: str) -> list[int]:
    """Layer numbers from 0 to count - 1, in the order asked for."""
    if isinstance(layers, str):
        return list(range(count))
    wrong = [layer for layer in layers if not -count <= layer < count]
    if wrong or not layers:
        raise ConfigError(f"speech layers {layers}: '{model}' has the layers 0 to {count - 1}")
    return [layer % count for layer in layers]


def _receptive_field(config: Any) -> tuple[int, int]:
    """Samples that one state sees, and samples between two states, of the convolutions at the network's entry."""
    field, stride = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        field, stride = field + (kernel - 1) * stride, stride * step
    return field, stride
