"""Classifier-free guidance, with a weight for each condition (Ho and Salimans 2021; Brooks et al. 2023)."""

from typing import Any

import torch
from torch import Tensor

from models.diffusion.conditions import stacked
from models.diffusion.guiders import Conditioned, Denoiser

Weight = float | Tensor


class ClassifierFree:
    """Goes further in the direction in which each condition leads.

    For one condition: without + w (with - without). For more, each in the order given on top of those before it:
    none + w1 (first - none) + w2 (first and second - first) + ... What is needed is asked for in one stacked pass, and
    what has no weight is not asked for: with all weights 1 that is one plain prediction.

    Args:
        weights: of each condition by name. 1 is as the network was trained, 0 leaves the condition out. A tensor is
            multiplied with x0: (T, 1, 1) has a weight for each frame of (B, C, T, h, w), as SVD has it.
    """

    def __init__(self, **weights: Weight):
        if not weights:
            raise ValueError("classifier-free guidance needs the weight of at least one condition")
        self.names = list(weights)
        given: list[Weight] = [1.0, *weights.values(), 0.0]
        # Prediction k has the first k conditions; it counts by the weight of the k-th less that of the next.
        shares = [given[k] - given[k + 1] for k in range(len(weights) + 1)]
        self.parts = [(k, share) for k, share in enumerate(shares) if _counts(share)][::-1]
        """(how many of the conditions it has, share) of each prediction that is asked for, most conditions first."""

    def prepare(self, predict: Conditioned, conditions: Any) -> Denoiser:
        """A denoiser that asks for all predictions in one pass."""
        passes = len(self.parts)
        conditions = stacked(conditions, passes)

        left_out: dict[str, Tensor] = {}

        def denoise(x: Tensor, levels: Tensor) -> Tensor:
            if not left_out:  # the same in every step
                for place, name in enumerate(self.names):
                    rows = torch.tensor([place >= has for has, _ in self.parts], device=x.device)
                    left_out[name] = rows.repeat_interleave(len(x))
            output = predict(stacked(x, passes), levels.repeat(passes), conditions, left_out).chunk(passes)
            if passes == 1:
                return output[0]
            shares = [share.to(x) if isinstance(share, Tensor) else share for _, share in self.parts]
            if passes == 2:
                return torch.lerp(output[1], output[0], shares[0])
            return sum((share * x0 for share, x0 in zip(shares, output, strict=True)), torch.zeros_like(x))

        return denoise


def _counts(share: Weight) -> bool:
    return bool((share != 0).any()) if isinstance(share, Tensor) else share != 0
