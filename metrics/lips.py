"""Do the lips open when the true ones do?"""

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.points import pair, visible
from models.human.keypoints import CHIN, INNER_LIP_BOTTOM, INNER_LIP_TOP, LEFT_BROW, RIGHT_BROW, lip_opening

NEEDED = [
    CHIN,
    INNER_LIP_TOP,
    INNER_LIP_BOTTOM,
    *range(RIGHT_BROW.start, RIGHT_BROW.stop),
    *range(LEFT_BROW.start, LEFT_BROW.stop),
]
"""Points that the opening hangs on."""
_STILL = 1e-6  # an opening that varies less than this (in face heights) is constant but for rounding


class LipCorrelation(Metric):
    """Pearson's r between generated and true lip opening over time, mean over clips; higher is better.

    The opening is `models.human.keypoints.lip_opening`: inner-lip distance over face height, so head movement and
    distance from the camera drop out. A clip in which either opening never changes has r = 0 and counts in `constant`:
    a still face earns nothing. Frames without the true lips are left out; a clip with fewer than `frames` of them does
    not count at all (`unseen`). Where only the generated lips are missing, the generated mean stands in, so leaving
    frames out cannot help.

    Args:
        frames: fewest frames with true lips.
    """

    total: Tensor
    clips: Tensor
    constant: Tensor
    unseen: Tensor
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, frames: int = 8):
        super().__init__()
        self.frames = frames
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("clips", "constant", "unseen"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Tensor, truth: Tensor) -> None:
        """Add one clip (T, 134, 3) or several of one length (B, T, 134, 3)."""
        generated, truth = pair(generated, truth)
        frames = generated.shape[-3]
        for one, other in zip(
            generated.reshape(-1, frames, *generated.shape[-2:]), truth.reshape(-1, frames, *truth.shape[-2:])
        ):
            self._add(one, other)

    def _add(self, generated: Tensor, truth: Tensor) -> None:
        there = visible(truth)[:, NEEDED].all(-1)
        if there.sum() < self.frames:
            self.unseen += 1
            return
        output = torch.from_numpy(lip_opening(generated.cpu().numpy()))
        true = torch.from_numpy(lip_opening(truth.cpu().numpy()))
        given = visible(generated)[:, NEEDED].all(-1).cpu()
        if given.any():
            output = torch.where(given, output, output[given].mean())
        output, true = output[there.cpu()], true[there.cpu()]
        self.clips += 1
        if not given.any() or output.std() < _STILL or true.std() < _STILL:
            self.constant += 1
            return
        output, true = output - output.mean(), true - true.mean()
        self.total += (output @ true / (output.norm() * true.norm())).to(self.total.device)

    def compute(self) -> Tensor:
        """The mean correlation, a scalar; NaN without a clip that shows the lips."""
        return self.total / self.clips if self.clips > 0 else torch.tensor(float("nan"))
