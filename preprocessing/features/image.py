"""`image.npz`: what an image encoder sees in every frame, so that training need not run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from models.video.images import ImageEncoder
from preprocessing.features.writer import Frames, Loaded
from pretrained.images import load_image_encoder
from settings.ranges import Pixels


class ImageWriter:
    """Embeddings of a CLIP vision network (CLIPVisionModelWithProjection): its folder, or a hub name.

    Args:
        size: height and width that frames are brought to first, as those of the latents were: the encoder then sees
            the same part of oblong frames; the video's own where none.
    """

    key: ClassVar[str] = "image.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4",)
    batch: ClassVar[int] = 32

    def __init__(self, *, size: tuple[Pixels, Pixels] | None = None) -> None:
        self.size = size

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; oblong frames are cropped where nobody says."""
        encoder, sha256 = load_image_encoder("network", network)
        fit: FitMode = video_fit or "crop"
        made_of = {"key": self.key, "size": None if self.size is None else list(self.size), "video_fit": fit}
        return Loaded(encoder, sha256, Frames(self.size, fit), partial(tokens_of, encoder), made_of)


@torch.no_grad()
def tokens_of(
    encoder: ImageEncoder, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`tokens` (T, A), in the half precision in which they are stored."""
    return {"tokens": torch.cat([encoder(part).half().cpu() for part in frames]).numpy()}
