"""Convolutions over time that shorten a sequence and bring it back, after T2M-GPT (Zhang et al. 2023).

Sequences are (B, C, T). Where a batch holds several lengths, what lies beyond a sequence's end is kept at 0 by a mask
(B, 1, T), as the zeros around a sequence that comes alone: then both give the same.
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

Mask = Tensor | None


def halvings(rate: int) -> int:
    """How often a rate halves the frames. Raises ValueError unless it is a power of two."""
    if rate < 1 or rate & (rate - 1):
        raise ValueError(f"frames of a token have to be a power of two, got {rate}")
    return int(math.log2(rate))


class DilatedBlock(nn.Module):
    """x + conv1(relu(conv3(relu(x)))), the three taps `dilation` frames apart.

    Args:
        width: channels.
        dilation: frames between taps.
    """

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.wide = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """(B, W, T) to the same."""
        return x + _masked(self.mix(F.relu(self.wide(F.relu(x)))), mask)


class Stretch(nn.Module):
    """Dilated blocks, the widest first.

    Args:
        width: channels.
        depth: blocks.
        growth: factor from one dilation to the next.
    """

    def __init__(self, width: int, depth: int, growth: int):
        super().__init__()
        self.blocks = nn.ModuleList(DilatedBlock(width, growth**power) for power in reversed(range(depth)))

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """(B, W, T) to the same."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class Shorter(nn.Module):
    """Half the frames, then dilated blocks; arguments as `Stretch`."""

    def __init__(self, width: int, depth: int, growth: int):
        super().__init__()
        self.halve = nn.Conv1d(width, width, 4, stride=2, padding=1)
        self.stretch = Stretch(width, depth, growth)

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """(B, W, T) to (B, W, T / 2); the mask is the result's."""
        return self.stretch(_masked(self.halve(x), mask), mask)


class Longer(nn.Module):
    """Dilated blocks, then twice the frames; arguments as `Stretch`."""

    def __init__(self, width: int, depth: int, growth: int):
        super().__init__()
        self.stretch = Stretch(width, depth, growth)
        self.smooth = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor, mask: Mask, wider: Mask) -> Tensor:
        """(B, W, T) to (B, W, 2 T); the masks are the input's and the result's."""
        return _masked(self.smooth(self.stretch(x, mask).repeat_interleave(2, -1)), wider)


class Encoder(nn.Module):
    """Frames to latents, one for every `rate` frames.

    Args:
        channels: of a frame.
        outputs: of a latent.
        width: channels between.
        depth: dilated blocks after each halving.
        growth: factor from one dilation to the next.
        rate: frames of a latent, a power of two.
    """

    def __init__(self, channels: int, outputs: int, *, width: int, depth: int, growth: int, rate: int):
        super().__init__()
        self.first = nn.Conv1d(channels, width, 3, padding=1)
        self.shorter = nn.ModuleList(Shorter(width, depth, growth) for _ in range(halvings(rate)))
        self.last = nn.Conv1d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """(B, channels, rate N) to (B, outputs, N); the mask is (B, 1, rate N)."""
        x = _masked(F.relu(self.first(_masked(x, mask))), mask)
        for shorter in self.shorter:
            mask = None if mask is None else mask[..., ::2]
            x = shorter(x, mask)
        return self.last(x)


class Decoder(nn.Module):
    """Latents to frames; arguments as `Encoder`, turned round."""

    def __init__(self, channels: int, outputs: int, *, width: int, depth: int, growth: int, rate: int):
        super().__init__()
        self.first = nn.Conv1d(channels, width, 3, padding=1)
        self.longer = nn.ModuleList(Longer(width, depth, growth) for _ in range(halvings(rate)))
        self.smooth = nn.Conv1d(width, width, 3, padding=1)
        self.last = nn.Conv1d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """(B, channels, N) to (B, outputs, rate N); the mask is (B, 1, rate N)."""
        step = 2 ** len(self.longer)
        x = _masked(F.relu(self.first(_masked(x, _every(mask, step)))), _every(mask, step))
        for longer in self.longer:
            x = longer(x, _every(mask, step), _every(mask, step // 2))
            step //= 2
        return self.last(_masked(F.relu(self.smooth(x)), mask))


def _masked(x: Tensor, mask: Mask) -> Tensor:
    return x if mask is None else x * mask.to(x.dtype)


def _every(mask: Mask, step: int) -> Mask:
    return None if mask is None else mask[..., ::step]
