"""`expression.npz`: the expression of every frame's face, told by a classifier (VA-14)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.fitting import FitMode
from models.human.aligned_face import arcface_crops, five_points
from preprocessing.features.writer import Frames, Loaded
from pretrained.expressions import ExpressionClassifier, load_expression_classifier


class ExpressionWriter:
    """Labels of a transformers image classifier of facial expressions: its folder, or a hub name."""

    key: ClassVar[str] = "expression.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4", "pose.npz")
    batch: ClassVar[int] = 32

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; faces are cut out of frames as they are, so `video_fit` does not matter."""
        found, sha256 = load_expression_classifier("network", network)
        return Loaded(found, sha256, Frames(), partial(expressions_of, found), {"key": self.key})


@torch.no_grad()
def expressions_of(
    network: ExpressionClassifier, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`labels` (T,), the likeliest of each frame, -1 where no whole face is seen, and `scores` (T,), how likely."""
    pose = values["pose.npz"]
    points = five_points(np.concatenate([pose["keypoints"], pose["scores"][..., None]], -1))
    there = ~np.isnan(points).any((1, 2))
    labels, scores, start = np.full(info.frames, -1, np.int16), np.zeros(info.frames, np.float32), 0
    for part in frames:
        rows = start + np.flatnonzero(there[start : start + len(part)])
        if len(rows):
            pictures = part[torch.from_numpy(rows - start)].permute(0, 2, 3, 1).cpu().numpy()
            faces = torch.from_numpy(arcface_crops(pictures, points[rows])).permute(0, 3, 1, 2)
            likely, label = network(faces).cpu().max(1)
            labels[rows], scores[rows] = label.numpy(), likely.numpy()
        start += len(part)
    return {"labels": labels, "scores": scores}
