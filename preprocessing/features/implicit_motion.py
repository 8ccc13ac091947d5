"""`implicit.npz`: motion features of every frame and the appearance of the first (IM-4, IM-3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from models.implicit_motion.base import ImplicitMotion
from models.implicit_motion.features import appearance_of, motion_of
from preprocessing.features.writer import Frames, Loaded, trained_fit
from pretrained.exports import load_frozen


class ImplicitMotionWriter:
    """Motion features of a trained base network of implicit_motion; its run folder or its saved network (export/)."""

    key: ClassVar[str] = "implicit.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4",)
    batch: ClassVar[int] = 64

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; oblong frames are fitted as the network's own run fitted them where nobody says."""
        base, sha256 = load_frozen(ImplicitMotion, "network", network, "implicit_motion's base network")
        fit = video_fit or trained_fit(network)
        size = (base.image_size, base.image_size)
        return Loaded(base, sha256, Frames(size, fit), partial(features_of, base), {"video_fit": fit})


def features_of(
    base: ImplicitMotion, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`motion` (T, 768) and `appearance` (A,) of the first frame."""
    motion, appearance = [], torch.empty(0)
    for number, part in enumerate(frames):
        motion.append(motion_of(base, part).cpu())
        if not number:
            appearance = appearance_of(base, part[:1])[0].cpu()
    return {"motion": torch.cat(motion).numpy(), "appearance": appearance.numpy()}
