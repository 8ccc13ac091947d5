"""Optimisers by name. Each function takes the options and returns what makes the optimiser of given parameters."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from settings import Registry
from settings.ranges import Decay, NonNegative

if TYPE_CHECKING:
    import torch

OptimizerFactory = Callable[[Iterable[Any]], "torch.optim.Optimizer"]

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adan": "trainers.stage.optimizers:adan",
        "adamw": "trainers.stage.optimizers:adamw",
        "adam": "trainers.stage.optimizers:adam",
    },
)


def adan(
    *,
    lr: NonNegative = 2e-4,
    betas: tuple[Decay, Decay, Decay] = (0.98, 0.92, 0.99),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.02,
) -> OptimizerFactory:
    """Adan: adaptive Nesterov momentum (MMGT-12). Weight decay is decoupled, in the proximal form of its paper.

    Args:
        lr: learning rate.
        betas: decay of the gradient, of the gradient difference and of the squared Nesterov gradient.
        eps: added to the denominator.
        weight_decay: parameters are divided by 1 + lr * weight_decay after the step; it never enters the gradient.
    """
    from trainers.stage.adan import Adan

    return lambda params: Adan(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def adamw(
    *,
    lr: NonNegative = 2e-4,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> OptimizerFactory:
    """AdamW: Adam with decoupled weight decay.

    Args:
        lr: learning rate.
        betas: decay of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: parameters are multiplied by 1 - lr * weight_decay before the step.
    """
    import torch

    return lambda params: torch.optim.AdamW(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def adam(
    *,
    lr: NonNegative = 2e-4,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
) -> OptimizerFactory:
    """Adam without weight decay.

    Args:
        lr: learning rate.
        betas: decay of the gradient and of its square.
        eps: added to the denominator.
    """
    import torch

    return lambda params: torch.optim.Adam(params, lr=lr, betas=betas, eps=eps)
