"""How many codes a tokenizer uses, over a whole validation and all ranks."""

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric


class CodeUse(Metric):
    """Share of the codes that come at least once, or the perplexity of the tokens.

    Args:
        codes: entries of the codebook.
        figure: "share", or "perplexity": exp of the entropy of how often each code comes.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, codes: int, figure: Literal["share", "perplexity"] = "share", **options: Any):
        super().__init__(**options)
        self.figure = figure
        self.add_state("counts", default=torch.zeros(codes), dist_reduce_fx="sum")

    def update(self, tokens: Tensor, mask: Tensor) -> None:
        """Add tokens (B, N); where the mask (B, N) is 0 they are padding."""
        self.counts.index_add_(0, tokens.flatten(), mask.flatten().to(self.counts.dtype))

    def compute(self) -> Tensor:
        """The figure of all that was added."""
        if self.figure == "share":
            return (self.counts > 0).float().mean()
        return torch.special.entr(self.counts / self.counts.sum().clamp(min=1)).sum().exp()
