"""Fewer passes over memory on a CPU than autograd takes: layers choose these, networks know nothing of them."""

from typing import Any

import torch
from torch import Tensor


def slots(parts: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors (B, T, n, H, D) as their n (B, T, H, D), one after another."""
    return [slot for part in parts for slot in part.unbind(2)]


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


class _CachedAttention(torch.autograd.Function):
    """Attention over short sequences on a CPU, where all that it touches stays in the cache.

    The same numbers as the tiled kernel gives, in fewer passes over memory: turning, scaling and bringing heads to the
    front are one, and the gradients of query, key and value are turned back right into the packed tensor that the
    projection's gradient is made from.
    """

    @staticmethod
    def forward(ctx: Any, freqs: Tensor, mask: Tensor | None, *parts: Tensor) -> Tensor:
        query, key, value = (slot.transpose(1, 2) for slot in slots(parts))
        batch, heads, length, channels = query.shape
        heads_first = query.new_empty(3, batch, heads, length, channels)
        torch.mul(_pairs(query), freqs * channels**-0.5, out=_pairs(heads_first[0]))
        torch.mul(_pairs(key), freqs, out=_pairs(heads_first[1]))
        heads_first[2].copy_(value)
        q, k, v = heads_first.flatten(1, 2)
        weights = torch.bmm(q, k.transpose(1, 2))
        if mask is not None:
            weights.view(batch, heads, length, length).masked_fill_(~mask[:, None, None], float("-inf"))
        torch.softmax(weights, -1, out=weights)
        ctx.save_for_backward(freqs, heads_first, weights)
        ctx.sizes = [part.shape[2] for part in parts]
        return torch.bmm(weights, v).view(batch, heads, length, channels).transpose(1, 2).flatten(2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        freqs, heads_first, weights = ctx.saved_tensors
        _, batch, heads, length, channels = heads_first.shape
        q, k, v = heads_first.flatten(1, 2)
        g = gradient.view(batch, length, heads, channels).transpose(1, 2).reshape(q.shape)
        parts = [gradient.new_empty(batch, length, size, heads, channels) for size in ctx.sizes]
        query, key, value = (slot.transpose(1, 2) for slot in slots(tuple(parts)))
        value.copy_(torch.bmm(weights.transpose(1, 2), g).view(value.shape))
        scores = torch._softmax_backward_data(torch.bmm(g, v.transpose(1, 2)), weights, -1, weights.dtype)
        back = freqs.conj().resolve_conj()
        torch.mul(_pairs(torch.bmm(scores, k).view(query.shape)), back * channels**-0.5, out=_pairs(query))
        torch.mul(_pairs(torch.bmm(scores.transpose(1, 2), q).view(key.shape)), back, out=_pairs(key))
        return None, None, *parts


class _Residual(torch.autograd.Function):
    """x + keep branch; autograd's own way makes one pass more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(keep)
        return torch.addcmul(x, branch, keep)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (keep,) = ctx.saved_tensors
        return gradient, gradient * keep, None


class _ModulatedResidual(torch.autograd.Function):
    """x + keep (gain branch + shift); autograd's own way makes three passes more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(branch, gain, keep)
        film = torch.addcmul(shift, branch, gain)
        return torch.addcmul(x, film, keep, out=film)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        branch, gain, keep = ctx.saved_tensors
        kept = gradient * keep
        to_gain, to_shift = (kept * branch).sum(1, keepdim=True), kept.sum(1, keepdim=True)
        return gradient, kept.mul_(gain), to_gain, to_shift, None


cached_attention = _CachedAttention.apply
residual = _Residual.apply
modulated_residual = _ModulatedResidual.apply
