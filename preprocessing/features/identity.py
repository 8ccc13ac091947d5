"""`identity.npz`: who the face of every frame is, to a network that tells people apart (VA-13)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from preprocessing.features.writer import Frames, Loaded
from pretrained.faces import FaceNetwork, embeddings, load_face_network


class IdentityWriter:
    """Embeddings of a face network: a file of ArcFace's format, or "colours", which needs no weights."""

    key: ClassVar[str] = "identity.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4", "pose.npz")
    batch: ClassVar[int] = 32

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; faces are cut out of frames as they are, so `video_fit` does not matter."""
        found = load_face_network("network", network)
        # It runs by itself, beside torch: there is nothing to move to a device.
        return Loaded(nn.Identity(), found.sha256, Frames(), partial(embeddings_of, found), {"key": self.key})


def embeddings_of(
    network: FaceNetwork, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`embedding` (T, A), in the half precision in which it is stored; zeros where no whole face is seen."""
    pose = values["pose.npz"]
    points = np.concatenate([pose["keypoints"], pose["scores"][..., None]], -1)
    parts, start = [], 0
    for part in frames:
        pictures = part.permute(0, 2, 3, 1).cpu().numpy()
        parts.append(embeddings(network, pictures, points[start : start + len(pictures)]))
        start += len(pictures)
    return {"embedding": np.concatenate(parts).astype(np.float16)}
