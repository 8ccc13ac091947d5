"""Which frames of a batch an autoencoder sees, and which part of them."""

from typing import Any

import torch
from torch import Tensor

from models.video.regions import region_weights
from trainers.stage.pictures import picked


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
