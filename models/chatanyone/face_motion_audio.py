"""What the face hears: mels that look at nothing but their own moment, or the layers of a speech recogniser (CA-4)."""

import math
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATE: Final = 16_000
LAYER_RATE: Final = 50
LOOK_AHEAD: Final = 0.2
"""Seconds of speech behind a window that may be heard (CA-15)."""
Audio = Literal["mel", "layers"]
_BANDS: Final = 40
_STEPS: Final = 4
"""Mels of a frame, at even distances."""
LOOK_BACK: Final = 400
"""Samples of a mel, which ends where its step does: so no mel hears what comes after its frame."""
_FFT: Final = 512
_LOW, _HIGH = 60.0, 7600.0
_FLOOR: Final = 1e-5


class LogMel(nn.Module):
    """Logarithm of the energy in 40 mel bands, four times a frame; hand-crafted, no weights.

    Each is of the last 25 ms before its moment, so that a stream hears the same as who has all of the sound.
    """

    bands: Tensor
    window: Tensor

    channels: Final = _STEPS * _BANDS
    silence: Final = (math.log(_FLOOR) + 5) / 4
    """What each number is where nothing is heard."""

    def __init__(self) -> None:
        super().__init__()
        edges = torch.linspace(_mel(_LOW), _mel(_HIGH), _BANDS + 2)
        hertz = 700 * (10 ** (edges / 2595) - 1)
        bins = torch.arange(_FFT // 2 + 1) * (RATE / _FFT)
        rise = (bins - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
        fall = (hertz[2:, None] - bins) / (hertz[2:] - hertz[1:-1])[:, None]
        self.register_buffer("bands", torch.minimum(rise, fall).clamp(min=0), persistent=False)
        self.register_buffer("window", torch.hann_window(LOOK_BACK), persistent=False)

    def forward(self, sound: Tensor, frames: int, fps: float, first: int = 0, start: int = 0) -> Tensor:
        """Mels of frames.

        Args:
            sound: (B, N) in [-1, 1] at 16 kHz; silence stands before and behind it.
            frames: F.
            fps: frames a second.
            first: number of the first frame.
            start: which sample of all the sound `sound` begins with.

        Returns:
            (B, F, 160).
        """
        steps = torch.arange(first * _STEPS + 1, (first + frames) * _STEPS + 1, dtype=torch.float64)
        ends = (steps / _STEPS / fps * RATE).round().long().to(sound.device) - start
        before = max(0, LOOK_BACK - int(round((first + 1 / _STEPS) / fps * RATE)) + start)
        behind = max(0, round((first + frames) / fps * RATE) - start - sound.shape[1])
        padded = F.pad(sound.float(), (before, behind))
        at = (ends + before)[:, None] + torch.arange(-LOOK_BACK, 0, device=sound.device)
        power = torch.fft.rfft(padded[:, at] * self.window, _FFT).abs().square()
        energy = power @ self.bands.T
        return ((energy + _FLOOR).log().add(5) / 4).unflatten(1, (frames, _STEPS)).flatten(2)


class Ear(nn.Module):
    """What a network of windows hears, frame by frame: mels of sound, or a speech recogniser's layers.

    Args:
        audio: which of them.
        layer_channels: channels of those layers; of no meaning to mels.
        fps: frames a second.

    Raises:
        ValueError: neither of them.
    """

    def __init__(self, audio: Audio, layer_channels: int, fps: float):
        super().__init__()
        if audio not in ("mel", "layers"):
            raise ValueError(f"audio has to be 'mel' or 'layers', got '{audio}'")
        self.audio, self.layer_channels, self.fps = audio, layer_channels, fps
        self.mel = LogMel() if audio == "mel" else None
        self.channels = LogMel.channels if audio == "mel" else 2 * layer_channels
        self.silence = LogMel.silence if audio == "mel" else 0.0
        """What is heard where there is no sound."""

    def forward(self, speech: Tensor, frames: int, first: int = 0, start: int = 0) -> Tensor:
        """What is heard in frames, (B, F, A); the arguments and errors are those of `FaceMotion.hear`."""
        if self.mel is not None:
            if speech.ndim != 2:
                raise ValueError(f"the network hears sound (B, N) at 16 kHz, got {tuple(speech.shape)}")
            return self.mel(speech, frames, self.fps, first, start)
        if speech.ndim != 4 or speech.shape[3] != self.layer_channels:
            raise ValueError(
                f"the network hears layers (B, L, S, {self.layer_channels}) at 50 Hz, got {tuple(speech.shape)}"
            )
        return layers_by_frame(speech, frames, self.fps, first, start)


def layers_by_frame(layers: Tensor, frames: int, fps: float, first: int = 0, start: int = 0) -> Tensor:
    """Layers of a speech recogniser (B, L, S, C) at 50 Hz, brought to frames: (B, F, 2 C), two moments of each.

    The mean of the layers, each by its own mean and spread over the channels; behind the end the last one.
    """
    moments = torch.arange(2 * first, 2 * (first + frames), dtype=torch.float64) / 2 / fps
    at = ((moments * LAYER_RATE).floor().long() - start).clamp(0, layers.shape[2] - 1).to(layers.device)
    chosen = layers[:, :, at].float()
    return F.layer_norm(chosen, chosen.shape[-1:]).mean(1).unflatten(1, (frames, 2)).flatten(2)


def check_look_ahead(frames: int, fps: float) -> None:
    """Raises ValueError for more frames of look-ahead than a stream may wait for."""
    if frames > LOOK_AHEAD * fps + 1e-6:
        raise ValueError(
            f"look_ahead is at most {LOOK_AHEAD:g} s (CA-15), {int(LOOK_AHEAD * fps + 1e-6)} frames at {fps:g} "
            f"frames a second, got {frames}"
        )


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
