"""Frames as the base network takes them, and those that it renders."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.implicit_motion.base import ImplicitMotion, SourceFeatures
from settings import ConfigError
from trainers.animation.frames import half_precision

if TYPE_CHECKING:
    from trainers.animation.options import Frames


def pixels(video: Tensor, network: ImplicitMotion) -> Tensor:
    """(B, T, 3, H, W) uint8 to floats in [0, 1]. Raises ConfigError for another size than the network's."""
    wanted = network.image_size
    if video.shape[-2:] != (wanted, wanted):
        height, width = video.shape[-2:]
        raise ConfigError(
            f"stage.network.image_size is {wanted}, but the frames are {width} x {height} pixels; set "
            f"data.video_size=[{wanted},{wanted}] (`preprocessing.run crop=square` makes videos that this does not "
            "distort)"
        )
    return video.contiguous().to(next(network.parameters()).dtype) / 255


@torch.no_grad()
def rendered(
    network: ImplicitMotion, source: SourceFeatures, motion: Iterable[Tensor], options: "Frames", size: int
) -> Iterator[np.ndarray]:
    """Frames (size, size, 3) uint8 of pieces of motion features (n, 768), one after another."""
    import cv2

    device = source.motion.device
    for piece in motion:
        for part in piece.split(options.batch):
            with half_precision(device, options.half):
                output = network.render(source, part[None].to(device), options.beta)[0]
            pixels = (output.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            for frame in pixels:
                same = frame.shape[0] == size
                yield frame if same else cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC)
