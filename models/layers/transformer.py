"""Plain pre-norm transformer parts."""

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.attention import Attention
from models.layers.dropout import Draw


class FeedForward(nn.Module):
    """Two linear maps with GELU between, without bias.

    Args:
        width: channels in and out.
        hidden: channels between.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.inner = nn.Linear(width, hidden, bias=False)
        self.outer = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        return self.outer(F.gelu(self.inner(x)))


def normalise(x: Tensor) -> Tensor:
    """Layer norm over the last axis without gain and bias: the linear map that follows brings the gain."""
    return F.layer_norm(x, x.shape[-1:])


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each a residual branch over layer norm.

    Args:
        width: channels W.
        heads: attention heads.
        feedforward: hidden channels of the feed-forward.
    """

    PLACES = 2
    """Places of dropout."""

    def __init__(self, width: int, heads: int, feedforward: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, feedforward)

    def forward(self, x: Tensor, freqs: Tensor, dropout: Draw, place: int, mask: Tensor | None = None) -> Tensor:
        """(B, T, W) to the same; `place` is the layer's first place of dropout, `mask` (B, T) where x is no padding."""
        x = dropout.add(x, self.attention(normalise(x), freqs, mask=mask), place)
        return dropout.add(x, self.feedforward(normalise(x)), place + 1)
