"""Which motion tokens training hides, and the loss of those (VA-7, VA-8)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def hidden_tokens(share: Tensor, scores: Tensor, lengths: Tensor) -> Tensor:
    """Which tokens are hidden: ceil(cos(pi / 2 u) n) of each sequence's n tokens (cosine schedule; VA-7).

    Args:
        share: (B,) u in [0, 1); 0 hides all.
        scores: (B, N) random numbers; the lowest are hidden.
        lengths: (B,) tokens of each sequence; what lies beyond is padding, and never hidden.

    Returns:
        (B, N) bool, at least one true in each row.
    """
    there = torch.arange(scores.shape[1], device=scores.device) < lengths[:, None]
    count = (torch.cos(share * (math.pi / 2)) * lengths).ceil().clamp(min=1)
    rank = scores.masked_fill(~there, float("inf")).argsort(1).argsort(1)
    return (rank < count[:, None]) & there


def token_loss(logits: Tensor, tokens: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the tokens that count, and the share of them that is likeliest (Eq. 3 to 5).

    The mean over each sequence's tokens, then over sequences. What does not count gives no gradient.

    Args:
        logits: (B, N, codes).
        tokens: (B, N) the true ones.
        counted: (B, N) bool, at least one true in each row.

    Returns:
        Loss and accuracy, both scalars.
    """
    size = counted.sum(1)
    each = F.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
    loss = ((each * counted).sum(1) / size).mean()
    right = (logits.detach().argmax(-1) == tokens) & counted
    return loss, (right.sum(1) / size).mean()
