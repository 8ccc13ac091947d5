"""Does the head point where the true one does?"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric


class HeadPoseError(Metric):
    """Mean absolute difference of yaw, pitch and roll in degrees, over the three and all frames (IM-19).

    Differences are taken the short way round: 179 and -179 degrees are 2 apart. Frames with NaN are left out and
    counted: `missed` where the generated head is not there but the true one is, `unseen` where the true one is not.
    Read `missed` with the figure, since leaving frames out can lower it.
    """

    total: Tensor
    frames: Tensor
    missed: Tensor
    unseen: Tensor
    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("frames", "missed", "unseen"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Tensor | np.ndarray, truth: Tensor | np.ndarray) -> None:
        """Add one clip.

        Args:
            generated, truth: (T, 3) yaw, pitch, roll in degrees, as `face.npz` has them; NaN where there is no face
                (`face.npz` has zeros there: put NaN where its scores are 0).

        Raises:
            ValueError: other shapes, or angles that no angle is.
        """
        output, true = torch.as_tensor(generated).double(), torch.as_tensor(truth).double()
        if output.ndim != 2 or output.shape[1] != 3 or output.shape != true.shape:
            raise ValueError(
                f"head poses are (T, 3), yaw, pitch, roll; these are {tuple(output.shape)} and {tuple(true.shape)}"
            )
        if (
            max((angles.nan_to_num().abs().max().item() for angles in (output, true) if angles.numel()), default=0)
            > 360
        ):
            raise ValueError("head poses are in degrees, from -180 to 180")
        output_there, true_there = ~output.isnan().any(1), ~true.isnan().any(1)
        both = output_there & true_there
        difference = torch.remainder(output[both] - true[both] + 180, 360) - 180
        self.total += difference.abs().sum(0).to(self.total.device)
        self.frames += both.sum().to(self.frames.device)
        self.missed += (true_there & ~output_there).sum().to(self.missed.device)
        self.unseen += (~true_there).sum().to(self.unseen.device)

    def angles(self) -> Tensor:
        """The mean absolute difference of yaw, of pitch and of roll, (3,), of this process's frames."""
        return self.total / self.frames if self.frames > 0 else torch.full((3,), float("nan"))

    def compute(self) -> Tensor:
        """The mean in degrees, a scalar; NaN without a frame that has both heads."""
        return self.angles().mean()
