"""Multi-head attention with rotary positions."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.rotary import rotate

LONGEST = 256  # beyond so many positions the matrix of all pairs outgrows the cache, and the tiled kernel is faster


class Attention(nn.Module):
    """Multi-head attention softmax(Q K^T / sqrt(d)) V with rotary positions on queries and keys.

    Self-attention projects queries, keys and values in one matrix product; cross-attention (`cross=True`) projects keys
    and values of the other sequence in one. The projections have no bias: FiLM behind the attention brings the shift.

    Args:
        width: channels W.
        heads: number of heads; has to divide the width into even parts.
        cross: whether keys and values come from another sequence.

    Raises:
        ValueError: the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, cross: bool = False):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} cannot be divided among {heads} heads of even size")
        self.heads = heads
        self.cross = cross
        self.inner = nn.Linear(width, width if cross else 3 * width, bias=False)
        self.other = nn.Linear(width, 2 * width, bias=False) if cross else None
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        freqs: Tensor,
        memory: Tensor | None = None,
        mask: Tensor | None = None,
        memory_freqs: Tensor | None = None,
    ) -> Tensor:
        """Attend from every position of x.

        Args:
            x: (B, T, W).
            freqs: (T, W / heads / 2) complex, from `rotary_freqs`.
            memory: (B, S, W), what cross-attention attends to.
            mask: (B, T), or (B, S) with a memory, bool: the positions that may be attended to, at least one in each
                row; all where None.
            memory_freqs: (S, W / heads / 2) likewise, for a memory that is not in step with x (S = T, each position
                beside its own); at its own rate where `rotary_freqs` was given positions.

        Returns:
            (B, T, W).

        Raises:
            ValueError: a memory of another length than x, and no positions of its own.
        """
        batch, length, width = x.shape
        split = (self.heads, width // self.heads)
        parts = [self.inner(x).view(batch, length, -1, *split)]
        if self.other is not None:
            if memory is None:
                raise ValueError("cross-attention needs a memory to attend to")
            if memory_freqs is None and memory.shape[1] != length:
                raise ValueError(
                    f"{length} positions attend to {memory.shape[1]} that are not in step with them: give memory_freqs"
                )
            parts.append(self.other(memory).view(batch, memory.shape[1], -1, *split))
        return self.out(rotary_attention(freqs, *parts, mask=mask, key_freqs=memory_freqs))


def rotary_attention(
    freqs: Tensor, *parts: Tensor, mask: Tensor | None = None, key_freqs: Tensor | None = None
) -> Tensor:
    """Attention of queries and keys that are turned by their positions first.

    Args:
        freqs: (T, D / 2) complex.
        parts: tensors (B, T, n, H, D) that hold, one after another along n, the query, the key and the value; key and
            value may have a length S of their own.
        mask: (B, S) bool, the positions that may be attended to; all where None.
        key_freqs: (S, D / 2) complex, of the keys; the queries' where None.

    Returns:
        (B, T, H D).
    """
    first = parts[0]
    small = first.device.type == "cpu" and first.dtype == torch.float32 and first.shape[1] <= LONGEST
    if small and key_freqs is None and not torch.compiler.is_compiling():
        return _CachedAttention.apply(freqs, mask, *parts)
    query, key, value = _slots(parts)
    query, key = rotate(query, freqs), rotate(key, freqs if key_freqs is None else key_freqs)
    mask = None if mask is None else mask[:, None, None]
    attended = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask
    )
    return attended.transpose(1, 2).flatten(2)


def _slots(parts: tuple[Tensor, ...]) -> list[Tensor]:
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
        query, key, value = (slot.transpose(1, 2) for slot in _slots(parts))
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
        query, key, value = (slot.transpose(1, 2) for slot in _slots(tuple(parts)))
        value.copy_(torch.bmm(weights.transpose(1, 2), g).view(value.shape))
        scores = torch._softmax_backward_data(torch.bmm(g, v.transpose(1, 2)), weights, -1, weights.dtype)
        back = freqs.conj().resolve_conj()
        torch.mul(_pairs(torch.bmm(scores, k).view(query.shape)), back * channels**-0.5, out=_pairs(query))
        torch.mul(_pairs(torch.bmm(scores.transpose(1, 2), q).view(key.shape)), back, out=_pairs(key))
        return None, None, *parts
