"""Mixed precision and fused attention, as a GPU has them, for tensors that are on no device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Casts = Callable[[Tensor], None]

# What autocast computes in 16 bits, and the part of what it computes in 32 that keeps large tensors for the backward
# pass: https://docs.pytorch.org/docs/stable/amp.html#autocast-op-reference
_LOW = (
    (F, "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"),
    (torch, "matmul mm bmm baddbmm addmm addbmm einsum"),
    (Tensor, "matmul __matmul__ __rmatmul__ mm bmm baddbmm addmm"),
)
_FULL = (
    (F, "layer_norm group_norm softmax log_softmax normalize cosine_similarity"),
    (F, "mse_loss l1_loss smooth_l1_loss cross_entropy nll_loss kl_div binary_cross_entropy_with_logits"),
    (torch, "softmax log_softmax exp log pow norm cdist"),
    (Tensor, "softmax log_softmax exp log pow __pow__ norm"),
)


@contextmanager
def as_on_gpu(dtype: torch.dtype | None, cast: Casts = lambda weight: None) -> Iterator[None]:
    """A while in which attention is fused and, with a dtype, operations choose their precision as autocast does.

    Torch's own autocast knows no meta device. Weights are cast once a while, and the copy is kept to its end.

    Args:
        dtype: torch.bfloat16 or torch.float16; None leaves precision alone.
        cast: called with each 16-bit copy of a weight.
    """
    copies: dict[int, Tensor] = {}

    def low(x: Any) -> Any:
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            return [low(each) for each in x] if isinstance(x, (list, tuple)) else x
        if not (x.is_leaf and x.requires_grad):
            return x.to(dtype)
        if id(x) not in copies:
            copies[id(x)] = x.to(dtype)
            cast(copies[id(x)])
        return copies[id(x)]

    def full(x: Any) -> Any:
        return x.float() if isinstance(x, Tensor) and x.dtype in (torch.bfloat16, torch.float16) else x

    def with_inputs(convert: Callable[[Any], Any], function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: function(*map(convert, args), **{k: convert(v) for k, v in kwargs.items()})

    changes: list[tuple[Any, str, Any]] = []
    if dtype is not None:
        for convert, lists in ((low, _LOW), (full, _FULL)):
            changes += [
                (owner, name, with_inputs(convert, getattr(owner, name)))
                for owner, names in lists
                for name in names.split()
            ]
    attention = with_inputs(low, fused_attention) if dtype is not None else fused_attention
    changes.append((F, "scaled_dot_product_attention", attention))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, changed in changes:
            setattr(owner, name, changed)
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` by a kernel that keeps no matrix of all pairs, as GPUs have it."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    shape = (*query.shape[:-1], value.shape[-1])
    query, key, value = map(_with_heads, (query, key, value))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, float("-inf"))
        attn_mask = _with_heads(attn_mask.to(query.dtype)).expand(*query.shape[:3], key.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0].reshape(shape)


def _with_heads(x: Tensor) -> Tensor:
    """(..., H, T, D) as (B, H, T, D)."""
    return x.flatten(0, -4) if x.dim() >= 4 else x[(None,) * (4 - x.dim())]
