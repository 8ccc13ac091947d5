"""A batch: tensors with documented shapes, made once, by the datamodule."""

from dataclasses import dataclass, field
from typing import Any

import torch

from datamodules.clip import Caption, ClipInfo
from datamodules.media.fitting import Fit


@dataclass
class Batch:
    """B windows of T frames, all at one frame rate; what a stage does not ask for is None.

    Attributes:
        ids: "clip id@first frame" of each window.
        starts: (B,) first frame of the window in its clip.
        fps: frames a second.
        lengths: (B,) frames of each window; the rest is padding (only where whole clips are read).
        captions: what is said or done in each window, in seconds from its first frame. A caption that began before it
            has a negative start, one that goes on ends behind it.
        pose: (B, T, 134, 3) x and y as fractions of the frame, score in [0, 1]; a missing point is (-1, -1, 0).
        speech: (B, T, 35) hand-crafted features, as stored.
        speech_layers: (B, L, S, C) features of a pretrained model at 50 Hz.
        audio: (B, N) in [-1, 1] at 16 kHz, N = round(T / fps * 16000).
        video: (B, T, 3, H, W) uint8, with the colours last in memory.
        motion: (B, M, 263) at 20 fps.
        arrays: those of every other key by its name, `arrays["face"]["boxes"]`, each (B, T, ...), or (B, ...) where it
            does not grow with time; shapes and units stand in `datamodules/keys.py`.
        whole: of each window's clip in full length, padded at the end: audio (B, N), speech (B, F, 35), and frames
            (B, 1), how long each is. Windows of one clip each bring it.
        infos: clip.json of each window's clip.
        fits: how the frames of each window's clip came to the size of `video`; empty where they kept their own.
        bad_samples: how many samples were skipped so far, by reason.
    """

    ids: list[str]
    starts: torch.Tensor
    fps: float
    pose: torch.Tensor | None = None
    speech: torch.Tensor | None = None
    speech_layers: torch.Tensor | None = None
    audio: torch.Tensor | None = None
    video: torch.Tensor | None = None
    motion: torch.Tensor | None = None
    arrays: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    whole: dict[str, torch.Tensor] | None = None
    lengths: torch.Tensor | None = None
    captions: list[list[Caption]] = field(default_factory=list)
    infos: list[ClipInfo] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    bad_samples: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, **options: Any) -> "Batch":
        """The same batch with every tensor on a device."""
        moved = {name: _move(value, device, options) for name, value in vars(self).items()}
        return Batch(**moved)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which copies to a GPU overlap with its work."""
        return Batch(**{name: _pin(value) for name, value in vars(self).items()})


def _move(value: Any, device: torch.device | str, options: dict[str, Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, **options)
    if isinstance(value, dict):
        return {name: _move(item, device, options) for name, item in value.items()}
    return value


def _pin(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.pin_memory()
    if isinstance(value, dict):
        return {name: _pin(item) for name, item in value.items()}
    return value
