"""Measures on the features of a pose autoencoder: FGD, Diversity (MMGT-23), which is DIV of IM-19, and TGD (IM-19)."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from metrics.frechet import FrechetDistance
from metrics.points import as_pose


def cut_windows(pose: Tensor, window: int, stride: int | None = None) -> Tensor:
    """Cut a clip into windows of equal length: (T, P, 3) to (N, window, P, 3).

    The last window ends with the clip, so that every frame is used; a clip that is shorter than a window holds its last
    frame. Stride: half a window by default.
    """
    stride = stride or max(window // 2, 1)
    if len(pose) < window:
        pose = torch.cat([pose, pose[-1:].expand(window - len(pose), *pose.shape[1:])])
    starts = list(range(0, len(pose) - window + 1, stride))
    if starts[-1] != len(pose) - window:
        starts.append(len(pose) - window)
    return torch.stack([pose[start : start + window] for start in starts])


@torch.no_grad()
def window_features(encoder: Any, pose: Tensor) -> Tensor:
    """Features (N, D) of a clip's windows (T, P, 3) or of given windows (N, window, P, 3)."""
    pose = as_pose(pose).float()
    windows = cut_windows(pose, encoder.window) if pose.ndim == 3 else pose
    return encoder.encode(windows).double()


class FGD(Metric):
    """Frechet Gesture Distance: `FrechetDistance` on a pose autoencoder's features (MMGT-23); lower is better.

    Windows of the autoencoder's length are cut from each clip with half a window's stride. The figure depends on the
    autoencoder: only figures from the same one can be compared.

    Args:
        encoder: a `models.human.PoseAutoencoder`: `encode` gives (N, features), `window` frames each.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder
        self.distance = FrechetDistance(int(encoder.features))

    def update(self, pose: Tensor, generated: bool) -> None:
        """Add the windows of one clip (T, P, 3), or given windows (N, window, P, 3), to one side."""
        self.distance.update(window_features(self.encoder, pose), generated=generated)

    def compute(self) -> Tensor:
        """The distance, a scalar."""
        return self.distance.compute()

    def reset(self) -> None:
        """Forget all clips."""
        super().reset()
        self.distance.reset()


class TGD(FrechetDistance):
    """Temporal gesture distance: how gestures follow one another, generated against true (IM-19, **ours**); lower is
    better.

    The paper names TGD without a formula, and no other definition was found. Ours is `FrechetDistance` between
    generated and true steps d_k = f_{k+1} - f_k, f_k the pose autoencoder's features of window k, windows half a window
    apart. FGD takes windows as a bag: the same windows in any order, or cut from clips that jump, give the same FGD.
    TGD sees both, and a figure that stands still. It depends on the autoencoder as FGD does.

    Args:
        encoder: a `models.human.PoseAutoencoder`: `encode` gives (N, features), `window` frames each.
    """

    def __init__(self, encoder: Any):
        super().__init__(int(encoder.features))
        self.encoder = encoder

    def update(self, pose: Tensor, generated: bool) -> None:  # type: ignore[override]
        """Add one clip (T, P, 3), or its windows in order (N, window, P, 3), to one side.

        A clip that gives fewer than two windows adds nothing; what is left at its end is not used.
        """
        pose = as_pose(pose)
        if pose.ndim == 3:
            stride = max(self.encoder.window // 2, 1)
            steps = (len(pose) - self.encoder.window) // stride
            if steps < 1:
                return
            pose = cut_windows(pose[: self.encoder.window + steps * stride], self.encoder.window, stride)
        features = window_features(self.encoder, pose)
        super().update(features[1:] - features[:-1], generated)


class Diversity(Metric):
    """Mean distance between generated gestures: 2 / (N (N - 1)) sum_{i<j} |f_i - f_j| (MMGT-23); higher is more varied.

    f are the pose autoencoder's features of all N windows, cut as for FGD; distances are Euclidean. Jitter raises it
    too: it is read against the truth's own Diversity, not alone. The same figure is called DIV in IM-19.

    Args:
        encoder: a `models.human.PoseAutoencoder`.
    """

    collected: list[Tensor]
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.add_state("collected", [], dist_reduce_fx="cat")

    def update(self, pose: Tensor) -> None:
        """Add the windows of one clip (T, P, 3), or given windows (N, window, P, 3)."""
        self.collected.append(window_features(self.encoder, pose))

    def compute(self) -> Tensor:
        """The mean distance, a scalar; NaN for fewer than two windows."""
        if not len(self.collected):
            return torch.tensor(float("nan"))
        features = dim_zero_cat(self.collected)
        return torch.pdist(features).mean() if len(features) > 1 else torch.tensor(float("nan"))
