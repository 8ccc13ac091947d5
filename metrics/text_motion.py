"""How well motions go with their texts, and how much they vary for one text (VA-17)."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

POOL = 32


class RPrecision(Metric):
    """Share of motions whose own text is among the k nearest of a pool (VA-17; Guo et al. 2022); higher is better.

    A motion's own text stands among 31 of other motions; texts are ordered by Euclidean distance of their vectors to
    the motion's. Motions are put into pools by a shuffle with a fixed seed; those left over for a pool of less than 32
    are taken into one with others that were counted before. Where fewer than 32 are given, all of them are the pool.

    Args:
        top: k from 1 to this.
        pool: texts of a pool.
        repeats: shuffles that are averaged over.
    """

    motions: list[Tensor]
    texts: list[Tensor]
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, top: int = 3, pool: int = POOL, repeats: int = 5):
        super().__init__()
        self.top, self.pool, self.repeats = top, pool, repeats
        self.add_state("motions", [], dist_reduce_fx="cat")
        self.add_state("texts", [], dist_reduce_fx="cat")

    def update(self, motion: Tensor, text: Tensor) -> None:
        """Add vectors of motions (B, D) and of their own texts (B, D).

        Raises:
            ValueError: other shapes.
        """
        if motion.ndim != 2 or motion.shape != text.shape:
            raise ValueError(f"motions and texts are (B, D) each, got {tuple(motion.shape)} and {tuple(text.shape)}")
        self.motions.append(motion.detach().double())
        self.texts.append(text.detach().double())

    def compute(self) -> Tensor:
        """(top,) shares for k = 1, 2, ...; NaN for fewer than two motions."""
        each = self.of_each()
        return each.mean(0) if len(each) > 1 else torch.full((self.top,), float("nan"))

    def of_each(self) -> Tensor:
        """(B, top) of each motion: in which share of the shuffles its own text is among the k nearest."""
        if not len(self.motions):
            return torch.zeros(0, self.top, dtype=torch.float64)
        motions, texts = dim_zero_cat(self.motions), dim_zero_cat(self.texts)
        count = len(motions)
        size = min(self.pool, count)
        found = torch.zeros(count, self.top, dtype=torch.float64)
        for repeat in range(self.repeats):
            order = torch.randperm(count, generator=torch.Generator().manual_seed(repeat)).to(motions.device)
            for start in range(0, count, size):
                new = order[start : start + size]
                rows = torch.cat([new, order[: size - len(new)]])
                distances = torch.cdist(motions[new], texts[rows])
                own = distances.diagonal()
                # Texts that are alike, the same words say, are no rivals.
                nearer = (distances < own[:, None] - 1e-9).sum(1).cpu()
                found[new.cpu()] += torch.stack([(nearer < k + 1).double() for k in range(self.top)], 1)
        return found / self.repeats


class MultiModality(Metric):
    """Mean distance between motions made for the same text (VA-17; Guo et al. 2022); read against the truth's own."""

    distances: list[Tensor]
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("distances", [], dist_reduce_fx="cat")

    def update(self, motions: Tensor) -> None:
        """Add vectors (R, D) of R motions for one text, R at least 2. Raises ValueError for fewer."""
        if motions.ndim != 2 or len(motions) < 2:
            raise ValueError(f"two or more motions of a text are needed, (R, D), got {tuple(motions.shape)}")
        self.distances.append(torch.pdist(motions.detach().double()).mean()[None])

    def compute(self) -> Tensor:
        """The mean over texts, a scalar; NaN without any."""
        return dim_zero_cat(self.distances).mean() if len(self.distances) else torch.tensor(float("nan"))
