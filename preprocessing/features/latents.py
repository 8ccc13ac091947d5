"""`latents.npz`: mean and log-variance of VAE latents of every frame, so that training need not encode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from models.video.latents import downscaling, moments_of
from preprocessing.features.writer import Frames, Loaded
from pretrained.autoencoders import load_autoencoder
from settings import ConfigError
from settings.ranges import Pixels

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class LatentsWriter:
    """Latents of a diffusers AutoencoderKL: a folder that it is saved in, that of a pipeline (vae/), or a hub name.

    Args:
        size: height and width that frames are brought to; the video's own where none, less what is beyond a multiple
            of the autoencoder's factor (8 for most).
    """

    key: ClassVar[str] = "latents.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4",)
    batch: ClassVar[int] = 8

    def __init__(self, *, size: tuple[Pixels, Pixels] | None = None) -> None:
        self.size = size

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; oblong frames are cropped where nobody says."""
        autoencoder: Any  # diffusers' own types are not known to be modules
        autoencoder, sha256 = load_autoencoder("network", network)
        factor = downscaling(autoencoder)
        if self.size is not None and any(side % factor for side in self.size):
            raise ConfigError(
                f"writer.size={list(self.size)}: the autoencoder makes one latent of {factor} x {factor} pixels; give "
                f"multiples of {factor}"
            )
        fit: FitMode = video_fit or "crop"
        made_of = {"key": self.key, "size": None if self.size is None else list(self.size), "video_fit": fit}
        return Loaded(autoencoder, sha256, Frames(self.size, fit, factor), partial(latents_of, autoencoder), made_of)


def latents_of(
    network: AutoencoderKL, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`mean` and `log_variance` (T, C, H / f, W / f), in the half precision in which they are stored."""
    moments = [[each.half().cpu() for each in moments_of(network, part)] for part in frames]
    mean, log_variance = (torch.cat(parts).numpy() for parts in zip(*moments, strict=True))
    return {"mean": mean, "log_variance": log_variance}
