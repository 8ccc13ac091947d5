"""Multi-head attention with rotary positions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.on_cpu import cached_attention, slots
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
        return cached_attention(freqs, mask, *parts)
    query, key, value = slots(parts)
    query, key = rotate(query, freqs), rotate(key, freqs if key_freqs is None else key_freqs)
    mask = None if mask is None else mask[:, None, None]
    attended = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask
    )
    return attended.transpose(1, 2).flatten(2)
