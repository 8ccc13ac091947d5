"""Which frames of a batch an autoencoder sees, which part of them, and how far what comes back is from them."""

from typing import Any

import torch
from torch import Tensor

from models.video.regions import region_weights


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


def frames_of(
    batch: Any, count: int, random: Any | None, consecutive: bool, more: float, side: int | None
) -> tuple[Tensor, Tensor | None]:
    """Frames (B N, 3, H, W) in [0, 1] of each window, and what their pixels count, (B N, 1, H, W) or None.

    Frames of a window are cut at one place where they are consecutive.

    Args:
        batch: windows.
        count: N of each.
        random: draws which, and where they are cut; None spreads them evenly, and whole.
        consecutive: one behind the other, as a decoder that mixes them takes them.
        more: how much more face, lips and hands count; 0 counts all the same.
        side: of the square that is cut, in pixels; None is the whole frame.
    """
    chosen = picked(batch, count, random, consecutive)
    rows = torch.arange(len(batch), device=chosen.device)[:, None]
    truth = batch.video[rows, chosen].flatten(0, 1).contiguous().float() / 255
    weight = None
    if more:
        weight = region_weights(batch.pose[rows, chosen].flatten(0, 1), truth.shape[-2], truth.shape[-1], more)
    if random is None or side is None:
        return truth, weight
    places = random.uniform(count, 2)
    if consecutive:
        places = places[:, :1].expand_as(places)
    return crops(truth, weight, side, places.flatten(0, 1))


def crops(frames: Tensor, weight: Tensor | None, side: int, places: Tensor) -> tuple[Tensor, Tensor | None]:
    """A square of each frame (N, 3, H, W) and of its weights (N, 1, H, W), no larger than the frame.

    Args:
        frames: whole ones.
        weight: what their pixels count.
        side: of the square in pixels.
        places: (N, 2) in [0, 1), how far down and to the right each lies.
    """
    height, width = (min(side, whole) for whole in frames.shape[-2:])
    room = torch.tensor([frames.shape[-2] - height + 1, frames.shape[-1] - width + 1], device=places.device)
    top, left = (places * room).long().unbind(1)
    rows = (top[:, None] + torch.arange(height, device=top.device))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width, device=left.device))[:, None, None, :]
    number = torch.arange(len(frames), device=frames.device)[:, None, None, None]

    def cut(pictures: Tensor) -> Tensor:
        channels = torch.arange(pictures.shape[1], device=pictures.device)[None, :, None, None]
        return pictures[number, channels, rows, columns]

    return cut(frames), None if weight is None else cut(weight)


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
