"""Frechet distance between generated and true pictures: FID."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metrics.frames import as_bytes
from metrics.frechet import FrechetDistance
from metrics.sources import Sourced, source_of
from pretrained.inception import Inception


class FID(Sourced, FrechetDistance):
    """Frechet Inception Distance over single frames (IM-19); lower is better.

    `FrechetDistance` on the 2048 pooled features of the original Inception-v3, frames rounded to 8 bits. With few
    frames the figure is biased upwards: give numbers of frames beside it, and compare only equal ones.

    Args:
        network: `Inception(...)`, or what it takes as `weights`; or any module from uint8 frames (N, 3, H, W) to
            (N, D) with an attribute `features` D.
        batch: frames at once.
    """

    figure = "FID"

    def __init__(self, network: nn.Module | str | Path, batch: int = 32) -> None:
        encoder: Any = network if isinstance(network, nn.Module) else Inception(network)
        super().__init__(int(encoder.features))
        self.network = encoder
        self.source = source_of(encoder)
        self.batch = batch

    @torch.no_grad()
    def update(self, frames: Tensor, generated: bool) -> None:  # type: ignore[override]
        """Add the frames of a clip, (T, 3, H, W) uint8 or float in [0, 1], to one side."""
        for some in as_bytes(frames).split(self.batch):
            super().update(self.network(some.to(self.device)), generated)
