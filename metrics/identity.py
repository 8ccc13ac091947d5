"""Is it still the same person? CSIM by ArcFace."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.frames import as_bytes
from metrics.sources import Sourced, source_of
from models.human.aligned_face import ARCFACE_SIDE, arcface_crops
from pretrained.faces import ArcFace


class CSIM(Sourced, Metric):
    """Cosine similarity of identity, mean over frames (CA-17, VA-17); 1 for the same picture.

    cos(e(generated), e(reference)), e ArcFace's embedding of the face, aligned by five points to insightface's 112 x
    112 template. The reference is the source picture, or the true frames: say which. Frames in which a face is missing
    are left out and counted: `missed` where the generated one is, `unseen` where only the reference's is.

    Args:
        network: `ArcFace(...)`, or what it takes as `weights`; or any function from uint8 RGB faces (N, 112, 112, 3)
            to (N, D).
    """

    total: Tensor
    frames: Tensor
    missed: Tensor
    unseen: Tensor
    figure = "CSIM"
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = ArcFace(network) if isinstance(network, (str, Path)) else network
        self.source = source_of(self.network)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("frames", "missed", "unseen"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        generated: Tensor,
        reference: Tensor,
        generated_points: np.ndarray | Tensor | None = None,
        reference_points: np.ndarray | Tensor | None = None,
    ) -> None:
        """Add one clip.

        Args:
            generated: (T, 3, H, W) uint8 or float in [0, 1], RGB; aligned faces of 112 x 112, or whole frames with
                `generated_points`.
            reference: (1, 3, H, W), one picture for all frames, or (T, 3, H, W), likewise.
            generated_points: (T, 5, 2) eyes, nose and corners of the mouth as fractions of the frame, as
                `models.human.aligned_face.five_points` gives them; NaN where there is no face.
            reference_points: (1, 5, 2) or (T, 5, 2), likewise.

        Raises:
            ValueError: another shape or range.
        """
        output, made_there = _faces(generated, generated_points, "generated")
        true, true_there = _faces(reference, reference_points, "reference")
        if len(true) not in (1, len(output)):
            raise ValueError(f"{len(output)} generated frames with {len(true)} reference frames; give one, or as many")
        self.missed += int((~made_there).sum())
        self.unseen += int((made_there & ~true_there).sum())
        both = made_there & true_there
        if not both.any():
            return
        a = self._embeddings(output[both])
        b = self._embeddings(true if len(true) == 1 else true[both])
        self.total += float((a * b).sum(1).sum())
        self.frames += int(both.sum())

    def _embeddings(self, faces: np.ndarray) -> np.ndarray:
        embeddings = np.asarray(self.network(faces), np.float64)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def compute(self) -> Tensor:
        """The mean similarity in [-1, 1], a scalar; NaN without a frame that shows both faces."""
        return self.total / self.frames if self.frames > 0 else torch.tensor(float("nan"))


def _faces(frames: Tensor, points: np.ndarray | Tensor | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Aligned faces (T, 112, 112, 3) uint8 and which of them are there (T,)."""
    pictures = as_bytes(frames).permute(0, 2, 3, 1).cpu().numpy()
    if points is None:
        if pictures.shape[1:3] != (ARCFACE_SIDE, ARCFACE_SIDE):
            raise ValueError(
                f"{name}: ArcFace looks at aligned faces of {ARCFACE_SIDE} x {ARCFACE_SIDE} pixels, not "
                f"{pictures.shape[1:3]}: give {name}_points with whole frames"
            )
        return pictures, np.ones(len(pictures), bool)
    points = torch.as_tensor(points).double().cpu().numpy()
    if points.shape != (len(pictures), 5, 2):
        raise ValueError(f"{name}_points are ({len(pictures)}, 5, 2); these are {points.shape}")
    there = ~np.isnan(points).any((1, 2))
    faces = np.zeros((len(pictures), ARCFACE_SIDE, ARCFACE_SIDE, 3), np.uint8)
    if there.any():
        faces[there] = arcface_crops(pictures[there], points[there])
    return faces, there
