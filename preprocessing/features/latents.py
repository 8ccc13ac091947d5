"""`latents.npz`: mean and log-variance of VAE latents of every frame, so that training need not encode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from models.video.latents import moments_of
from preprocessing.features.writer import Frames, Loaded
from pretrained.autoencoders import load_autoencoder
from settings.ranges import Pixels

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class LatentsWriter:
    """Latents of a diffusers AutoencoderKL: a run of video.autoencoder, a folder that it is saved in, or a hub name.

    Frames whose sides the autoencoder's factor (8 for most) does not divide are continued by their last row and column.

    Args:
        size: height and width that frames are brought to; the video's own where none.
    """

    key: ClassVar[str] = "latents.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4",)
    batch: ClassVar[int] = 8

    def __init__(self, *, size: tuple[Pixels, Pixels] | None = None) -> None:
        self.size = size

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; oblong frames are cropped where nobody says."""
        autoencoder, sha256 = load_autoencoder("network", network)
        fit: FitMode = video_fit or "crop"
        made_of = {"key": self.key, "size": None if self.size is None else list(self.size), "video_fit": fit}
        return Loaded(autoencoder, sha256, Frames(self.size, fit), partial(latents_of, autoencoder, fit), made_of)


def latents_of(
    network: AutoencoderKL, fit: FitMode, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`mean` and `log_variance` (T, C, h, w), in the half precision in which they are stored, and `frame` (3,)."""
    moments, height, width = [], 0, 0
    for part in frames:
        height, width = part.shape[-2:]
        moments.append([each.half().cpu() for each in moments_of(network, part)])
    mean, log_variance = (torch.cat(parts).numpy() for parts in zip(*moments, strict=True))
    return {"mean": mean, "log_variance": log_variance, "frame": np.array([height, width, fit == "pad"], np.int32)}
