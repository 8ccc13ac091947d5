"""Multi-head attention with rotary positions, on the fused kernels of PyTorch."""

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.rotary import rotate


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

    def forward(self, x: Tensor, turns: Tensor, memory: Tensor | None = None) -> Tensor:
        """Attend from every position of x.

        Args:
            x: (B, T, W).
            turns: (T, W / heads / 2) complex, from `rotary_turns`.
            memory: (B, T, W), in step with x, for cross-attention.

        Returns:
            (B, T, W).
        """
        batch, length, width = x.shape
        size = (batch, length, -1, self.heads, width // self.heads)
        if self.other is None:
            query, key, value = self.inner(x).view(size).unbind(2)
        else:
            query = self.inner(x).view(size).squeeze(2)
            key, value = self.other(memory).view(size).unbind(2)
        query, key = rotate(query, turns), rotate(key, turns)
        attended = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.out(attended.transpose(1, 2).flatten(2))
