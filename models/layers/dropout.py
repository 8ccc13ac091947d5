"""Dropout of residual branches that costs one pass over memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.film import Modulation
from models.layers.on_cpu import modulated_residual, residual


class BranchDropout(nn.Module):
    """x + dropout(branch) at several places of a network.

    Drawing random bits takes a CPU longer than any other part of dropout. So the bits of a forward pass are drawn once,
    twice as many as one place needs, and each place reads them from a random start of its own: every element is still
    dropped with probability p, and two elements share a bit only by chance (1 in as many as there are). On other
    devices each place draws its own.

    Args:
        p: probability of dropping.
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout has to be in [0, 1), got {p}")
        self.p = p

    def draw(self, like: Tensor, places: int) -> "Draw":
        """The random bits of one forward pass.

        Args:
            like: a branch, for its size and device.
            places: how many branches will be dropped.
        """
        if not self.training or self.p == 0:
            return Draw(0.0, None, [])
        if like.device.type != "cpu" or torch.compiler.is_compiling():
            return Draw(self.p, None, [])
        count = like.numel()
        pool = torch.empty(2 * count, dtype=like.dtype).bernoulli_(1 - self.p).div_(1 - self.p)
        return Draw(self.p, pool, torch.randint(0, count + 1, (places,)).tolist())


class Draw:
    """The random bits of one forward pass; made by `BranchDropout.draw`."""

    def __init__(self, p: float, pool: Tensor | None, starts: list[int]):
        self.p, self.pool, self.starts = p, pool, starts

    def add(self, x: Tensor, branch: Tensor, place: int, film: Modulation | None = None) -> Tensor:
        """x + dropout(film(branch)); the same place always drops the same, so recomputation repeats it.

        Args:
            x: (B, T, W).
            branch: (B, T, W).
            place: number of the place, below the `places` that were drawn for.
            film: modulation of the branch, if there is one.
        """
        if self.pool is None:
            return x + F.dropout(branch if film is None else film(branch), self.p)
        keep = self.pool.narrow(0, self.starts[place], branch.numel()).view(branch.shape)
        if film is None:
            return residual(x, branch, keep)
        return modulated_residual(x, branch, film.gain, film.shift, keep)
