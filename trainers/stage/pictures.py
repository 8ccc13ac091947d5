"""Frames for stages that rebuild pictures: which of a batch, what pixels count, how near they are to the truth."""

from typing import Any

import torch
from torch import Tensor

from models.losses.regions import movement_weight


def picked(batch: Any, count: int, random: Any | None, consecutive: bool = False) -> Tensor:
    """Numbers (B, count) of frames of each window: drawn where there is a generator, else spread evenly.

    Consecutive ones begin at a drawn place, else so that they are the middle; behind the end stands the last again.
    """
    size, length = batch.video.shape[:2]
    lengths = torch.full((size,), length) if batch.lengths is None else batch.lengths
    lengths = lengths.to(batch.video.device)[:, None]
    if consecutive:
        share = 0.5 if random is None else random.uniform(1)
        first = (share * (lengths - count + 1).clamp(min=1)).long()
        return torch.minimum(first + torch.arange(count, device=lengths.device), lengths - 1)
    if random is not None:
        return (random.uniform(count) * lengths).long()
    places = torch.linspace(0, 1, count, device=lengths.device) if count > 1 else torch.zeros(1, device=lengths.device)
    return (places * (lengths - 1)).round().long()


def moved(driving: Tensor, image: Tensor, more: float) -> Tensor | None:
    """How much pixels count in which driving frames (B, N, 3, H, W) differ from the source (B, 3, H, W).

    Returns:
        (B N, 1, H, W); None where `more` is 0 and all count the same.
    """
    if not more:
        return None
    still = image[:, None].expand_as(driving)
    return movement_weight(driving.flatten(0, 1), still.flatten(0, 1), more)


def psnr(frames: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Mean over frames (N, 3, H, W) of the peak signal-to-noise ratio in dB; of pixels inside (N, 1, H, W) alone.

    Frames of which no pixel is inside count with their own whole.
    """
    error = (frames - truth).float().square().mean(1, keepdim=True)
    whole = error.flatten(1).mean(1)
    if inside is not None:
        there = inside.flatten(1).sum(1)
        whole = torch.where(there > 0, (error * inside).flatten(1).sum(1) / there.clamp(min=1), whole)
    return -10 * whole.clamp(min=1e-10).log10().mean()
