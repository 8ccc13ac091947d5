"""Distances between generated and true facial expressions: E-FID, and one of key points that needs no weights."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from metrics.faces import deep3d_crops
from metrics.frames import as_bytes
from metrics.frechet import FrechetDistance
from metrics.sources import Sourced, source_of, yardstick
from models.human.canonical_face import CANONICAL, RIGID
from pretrained.weights import Published, WeightsSource, find_file, load_state, read_state

DEEP3D: Final = Published(
    "Deep3DFaceRecon's ResNet-50",
    ("epoch_20.pth",),
    "6d17a6b23457b521801baae583cb6a58f7238fe6721fc3d65d76407460e9149b",
    "https://github.com/OpenTalker/SadTalker/releases/download/v0.0.2/epoch_20.pth (or Deep3DFaceRecon_pytorch's own)",
)
COEFFICIENTS: Final = {
    "identity": 80,
    "expression": 64,
    "texture": 80,
    "angles": 3,
    "light": 27,
    "place": 2,
    "depth": 1,
}
"""What the regressor says of a face, in its order, with the number of coefficients of each."""
FEATURES: Final = COEFFICIENTS["expression"]
MOVING: Final = (*range(17, 27), *range(36, 68))
"""Points of iBUG-68 that an expression moves: brows, rims of the eyes, lips."""


class Deep3D(nn.Module):
    """Deep3DFaceRecon's regressor (Deng et al. 2019): uint8 faces (N, 3, 224, 224) to expressions (N, 64).

    ResNet-50 and, for each group of `COEFFICIENTS` of the Basel face model, a 1 x 1 convolution on its pooled features.
    Only those of the expression are given.

    Args:
        weights: the file, a folder that holds it, or a hub name.

    Raises:
        ConfigError: no such file, or another network's.
    """

    features = FEATURES
    source: WeightsSource

    def __init__(self, weights: str | Path) -> None:
        from torchvision.models import resnet50

        super().__init__()
        path, source = find_file(weights, DEEP3D)
        state = read_state(path, DEEP3D, inside="net_recon")
        self.backbone = resnet50(weights=None)
        width = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.final_layers = nn.ModuleList([nn.Conv2d(width, size, 1) for size in COEFFICIENTS.values()])
        load_state(self, state, path, DEEP3D)
        yardstick(self, source)

    def forward(self, faces: Tensor) -> Tensor:
        pooled = self.backbone(faces.float() / 255)
        layer = self.final_layers[list(COEFFICIENTS).index("expression")]
        return layer(pooled[..., None, None])[..., 0, 0]


class _OverFaces(Metric):
    """Counts faces that are not there."""

    missed: Tensor
    unseen: Tensor

    def _count(self) -> None:
        for name in ("missed", "unseen"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _seen(self, points: Any, generated: bool) -> np.ndarray:
        """Which of the faces (T, 68, C) are there (T,), the others counted."""
        there = ~np.isnan(points).any((1, 2))
        if generated:
            self.missed += int((~there).sum())
        else:
            self.unseen += int((~there).sum())
        return there


class EFID(Sourced, _OverFaces, FrechetDistance):
    """E-FID (VA-17): squared Frechet distance of the expression coefficients of faces; lower is better.

    `FrechetDistance` on the 64 expression coefficients that Deep3DFaceRecon reads from each face, cut out as its own
    code does. Frames without a face are left out and counted: `missed` among the generated, `unseen` among the true.

    Args:
        network: `Deep3D(...)`, or what it takes as `weights`; or any module from uint8 faces (N, 3, 224, 224) to
            (N, D) with an attribute `features` D.
        batch: faces at once.
    """

    figure = "E-FID"

    def __init__(self, network: nn.Module | str | Path, batch: int = 16) -> None:
        encoder: Any = network if isinstance(network, nn.Module) else Deep3D(network)
        super().__init__(int(encoder.features))
        self.network, self.batch = encoder, batch
        self.source = source_of(encoder)
        self._count()

    @torch.no_grad()
    def update(self, frames: Tensor, points: np.ndarray, generated: bool) -> None:  # type: ignore[override]
        """Add the faces of a clip to one side.

        Args:
            frames: (T, 3, H, W) uint8 or float in [0, 1], RGB.
            points: (T, 68, 2 or more) iBUG-68 of each frame as fractions of it; NaN where there is no face.
            generated: which side.
        """
        frames, points = as_bytes(frames), _points(points, len(frames))
        there = self._seen(points, generated)
        if not there.any():
            return
        pictures = frames[torch.from_numpy(there)].permute(0, 2, 3, 1).cpu().numpy()
        faces = torch.from_numpy(deep3d_crops(pictures, points[there, :, :2])).permute(0, 3, 1, 2)
        for some in faces.split(self.batch):
            super().update(self.network(some.to(self.device)), generated)


class ExpressionDistance(Sourced, _OverFaces, FrechetDistance):
    """Squared Frechet distance of faces' key points with the head's own movement taken off; lower is better (ours).

    What stands in for E-FID where there are no weights, under a name of its own: `FrechetDistance` on
    `expression_of`, in centimetres of a canonical face. Faces' shapes are in it as well as their expressions, so it is
    for comparing systems on the same clips. Frames without a face are counted as `EFID` counts them.

    Args:
        detector: what found the points, for `source`.
    """

    figure = "Expression distance"

    def __init__(self, detector: str) -> None:
        super().__init__(2 * len(MOVING))
        self.source = WeightsSource(detector, standard=True)
        self._count()

    @property
    def label(self) -> str:
        """The figure's name in a table; never E-FID."""
        return f"{self.figure} ({self.source.what})"

    def update(self, points: np.ndarray, generated: bool) -> None:  # type: ignore[override]
        """Add the faces of a clip, (T, 68, 3) in units that are the same along all axes; NaN where there is none."""
        points = _points(points, len(points))
        there = self._seen(points, generated)
        if there.any():
            super().update(torch.from_numpy(expression_of(points[there])).to(self.device), generated)


def expression_of(points: np.ndarray) -> np.ndarray:
    """Where brows, eyes and lips are on a face that looks straight ahead, whatever the head does.

    The turn, scale and shift that bring the points which nothing but the skull moves (`RIGID`) nearest to the canonical
    face, in least squares (Umeyama 1991, no mirroring), are applied to those that an expression moves (`MOVING`).

    Args:
        points: (T, 68, 3) x to the right, y down, z away from the camera, in one unit.

    Returns:
        (T, 84) x and y of 42 points in centimetres.
    """
    faces = np.asarray(points, np.float64) * (1, -1, -1)  # y up, z towards the camera, as the canonical face has them
    rigid, moving = faces[:, list(RIGID)], faces[:, list(MOVING)]
    middle, target = rigid.mean(1, keepdims=True), CANONICAL.mean(0)
    a, b = rigid - middle, CANONICAL - target
    u, sizes, v = np.linalg.svd(np.einsum("ni,tnj->tij", b, a))
    signs = np.ones_like(sizes)
    signs[:, -1] = np.sign(np.linalg.det(u) * np.linalg.det(v))
    turn = (u * signs[:, None]) @ v
    scale = (sizes * signs).sum(1) / np.maximum(np.square(a).sum((1, 2)), 1e-12)
    aligned = scale[:, None, None] * np.einsum("tij,tnj->tni", turn, moving - middle) + target
    return aligned[..., :2].reshape(len(aligned), -1)


def _points(points: np.ndarray | Tensor, frames: int) -> np.ndarray:
    points = torch.as_tensor(points).double().cpu().numpy()
    if points.ndim != 3 or points.shape[:2] != (frames, 68) or points.shape[2] not in (2, 3):
        raise ValueError(f"faces are ({frames}, 68, 2 or 3); these are {points.shape}")
    return points
