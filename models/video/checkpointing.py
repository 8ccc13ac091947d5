"""Gradient checkpointing of single layers, the temporal ones among them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def run(layer: Callable[..., Tensor], *inputs: Tensor | None, recompute: bool) -> Tensor:
    """The output of a layer, whose activations are computed again in the backward pass where `recompute` is set.

    Layers have no dropout, so that the state of random numbers need not be kept.

    Args:
        layer: what is called.
        inputs: its tensors; they are kept.
        recompute: whether to keep nothing else.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
    return layer(*inputs)
