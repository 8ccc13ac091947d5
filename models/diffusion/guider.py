"""Guidance: predictions with and without a condition, put together."""

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, ...), timesteps (B,)) to a prediction (B, ...)."""


def classifier_free(conditioned: Callable[[Tensor, Tensor, Tensor], Tensor], weight: float) -> Model:
    """Classifier-free guidance: uncond + weight (cond - uncond), both in one pass of a doubled batch.

    Args:
        conditioned: (x_t, timesteps, drop (B,) bool) to a prediction; `drop` says where the condition is left out. It
            is called with twice the batch, first with the condition and then without.
        weight: 1 is the plain conditional prediction, which is then computed alone.
    """

    def guided(x_t: Tensor, timesteps: Tensor) -> Tensor:
        drop = torch.zeros(len(x_t), dtype=torch.bool, device=x_t.device)
        if weight == 1:
            return conditioned(x_t, timesteps, drop)
        both = conditioned(x_t.repeat(2, *[1] * (x_t.ndim - 1)), timesteps.repeat(2), torch.cat([drop, ~drop]))
        with_condition, without = both.chunk(2)
        return torch.lerp(without, with_condition, weight)

    return guided
