"""Losses of a generator and a discriminator that judges patches (IM-10)."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

AdversarialLoss = Literal["hinge", "lsgan"]
"""hinge: max(0, 1 - s) for real and max(0, 1 + s) for generated patches, against -s (Lim and Ye 2017).
lsgan: (s - 1)^2 and s^2, against (s - 1)^2 (Mao et al. 2017, as in FOMM). s is the logit of a patch."""

Logits = Tensor | Sequence[Tensor]
"""(N, 1, h, w), or one such map per scale."""

_REAL: dict[str, Callable[[Tensor], Tensor]] = {"hinge": lambda s: F.relu(1 - s), "lsgan": lambda s: (s - 1).square()}
_FAKE: dict[str, Callable[[Tensor], Tensor]] = {"hinge": lambda s: F.relu(1 + s), "lsgan": lambda s: s.square()}
_FOOL: dict[str, Callable[[Tensor], Tensor]] = {"hinge": lambda s: -s, "lsgan": lambda s: (s - 1).square()}


def discriminator_loss(kind: AdversarialLoss, real: Logits, generated: Logits) -> Tensor:
    """What the discriminator minimises: L = mean f(s_real) + mean g(s_generated).

    Means are over a sample's patches, then over samples, then over scales. The generated frames have to be detached
    before they are judged.

    Args:
        kind: "hinge" or "lsgan".
        real: logits of true frames.
        generated: logits of generated frames.

    Returns:
        A scalar.

    Raises:
        ValueError: another kind.
    """
    return _mean(_chosen(_REAL, kind), real) + _mean(_chosen(_FAKE, kind), generated)


def generator_loss(kind: AdversarialLoss, generated: Logits) -> Tensor:
    """What the generator minimises, L_adv: means as in `discriminator_loss`.

    Args:
        kind: "hinge" or "lsgan".
        generated: logits of generated frames.

    Returns:
        A scalar.

    Raises:
        ValueError: another kind.
    """
    return _mean(_chosen(_FOOL, kind), generated)


def feature_matching_loss(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Mean over the discriminator's layers of mean |f_real - f_generated| (Wang et al. 2018); optional.

    Args:
        real: features of true frames, one (N, C, h, w) a layer; no gradient reaches them.
        generated: features of generated frames.

    Returns:
        A scalar.

    Raises:
        ValueError: numbers of layers that differ, or none.
    """
    if len(real) != len(generated) or not real:
        raise ValueError(f"features of the same layers are compared, not {len(real)} against {len(generated)} layers")
    terms = [(b - a.detach()).abs().mean() for a, b in zip(real, generated, strict=True)]
    return torch.stack(terms).mean()


def _chosen(losses: dict[str, Callable[[Tensor], Tensor]], kind: str) -> Callable[[Tensor], Tensor]:
    if kind not in losses:
        raise ValueError(f"there is no adversarial loss '{kind}'; take one of {', '.join(losses)}")
    return losses[kind]


def _mean(loss: Callable[[Tensor], Tensor], logits: Logits) -> Tensor:
    """Over patches and samples (all have as many patches, so one mean does both), then over scales."""
    maps = [logits] if isinstance(logits, Tensor) else list(logits)
    return torch.stack([loss(scores.float()).mean() for scores in maps]).mean()
