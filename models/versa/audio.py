"""Speech at the rate of the motion tokens: features, then a temporal block of convolutions (VA-5)."""

from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn

from models.layers.transformer import normalise

HANDCRAFTED: Final = 35
FACTORS: Final[dict[str, tuple[int, ...]]] = {"handcrafted": (2, 2), "layers": (5, 2)}
"""By how much each strided convolution brings features down to the rate of tokens: 20 or 50 a second to 5."""


class AudioTokens(nn.Module):
    """Speech features to one vector a motion token (VA-5).

    The features are brought to 4 steps a token (hand-crafted, at any frame rate) or 10 (layers of wav2vec at 50 Hz; the
    mean of those that are given). Then convolutions: one at that rate, two with strides, each followed by a dilated
    residual one that lets neighbouring tokens speak. Padding behind a shorter clip reaches nothing.

    Args:
        kind: "handcrafted", 35 features at the clip's frame rate, or "layers" of a pretrained model at 50 Hz.
        channels: features a step.
        width: channels of the result.
        fps: frames a second of the motion, 4 to a token.

    Raises:
        ValueError: an unknown kind.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: Literal["handcrafted", "layers"], channels: int, width: int, fps: float = 20.0):
        super().__init__()
        if kind not in FACTORS:
            raise ValueError(f"audio has to be one of {', '.join(FACTORS)}, got '{kind}'")
        self.kind, self.channels, self.fps = kind, channels, fps
        factors = FACTORS[kind]
        self.steps = factors[0] * factors[1]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.inner = nn.Conv1d(channels, width, 3, padding=1)
        self.strided = nn.ModuleList(nn.Conv1d(width, width, factor, factor) for factor in factors)
        self.mixing = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for dilation in (1, 2)
        )
        self.outer = nn.Linear(width, width)

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take "handcrafted" of an index; features of a pretrained model are normalised step by step instead."""
        if self.kind == "handcrafted":
            for buffer, moment in ((self.mean, "mean"), (self.std, "std")):
                buffer.copy_(torch.as_tensor(statistics["handcrafted"][moment], dtype=buffer.dtype))

    def forward(
        self,
        features: Tensor,
        tokens: int,
        lengths: Tensor | None = None,
        heard: Tensor | None = None,
        fps: float | None = None,
    ) -> Tensor:
        """One vector a token.

        Args:
            features: (B, T, C) at `fps`, or (B, L, S, C) or (B, S, C) at 50 Hz.
            tokens: N that are wanted; where the features end before, the last step goes on.
            lengths: (B,) tokens of each sequence, the rest is padding; all N where None.
            heard: (B,) steps of each sequence's features, the rest is padding; all where None.
            fps: frames a second of hand-crafted features; the motion's where None.

        Returns:
            (B, N, width).
        """
        x = self.align(features, tokens, heard, fps)
        x = ((x - self.mean) / self.std).clamp(-10, 10) if self.kind == "handcrafted" else normalise(x)
        there: Tensor | None = None
        if lengths is not None:
            steps = torch.arange(x.shape[1], device=x.device)
            there = (steps < lengths[:, None] * self.steps)[:, None]  # (B, 1, steps)

        def cut(x: Tensor) -> Tensor:
            return x if there is None else x * there

        x = cut(self.inner(cut(x.to(self.inner.weight.dtype).transpose(1, 2))))
        for strided, mixing in zip(self.strided, self.mixing, strict=True):
            x = strided(nn.functional.gelu(x))
            there = None if there is None else there[..., :: cast(nn.Conv1d, strided).stride[0]]
            normal = normalise(x.transpose(1, 2)).transpose(1, 2)
            x = cut(x + mixing(cut(nn.functional.gelu(normal))))
        return self.outer(normalise(x.transpose(1, 2)))

    def align(self, features: Tensor, tokens: int, heard: Tensor | None = None, fps: float | None = None) -> Tensor:
        """Features as (B, N steps, C), `steps` to a token; beyond the end of a sequence's own, the last one goes on.

        Raises:
            ValueError: features of another shape.
        """
        x = features.float().mean(1) if features.ndim == 4 else features
        if x.ndim != 3 or x.shape[2] != self.channels or x.shape[1] < 1:
            raise ValueError(
                f"audio has to be (B, steps, {self.channels}) {self.kind} features with a step at least, "
                f"got {tuple(features.shape)}"
            )
        rate = 1.0 if self.kind == "layers" or fps is None else fps / self.fps
        places = torch.arange(tokens * self.steps, device=x.device) * rate
        last = torch.full((len(x), 1), x.shape[1] - 1, device=x.device)
        if heard is not None:
            last = torch.minimum(last, heard[:, None] - 1).clamp(min=0)
        places = torch.minimum(places[None], last.to(places.dtype))
        low = places.floor().long()
        first = x.gather(1, low[..., None].expand(-1, -1, x.shape[2]))
        if rate == 1.0:
            return first
        high = torch.minimum(low + 1, last)
        second = x.gather(1, high[..., None].expand(-1, -1, x.shape[2]))
        return torch.lerp(first, second, (places - low)[..., None].to(x.dtype))
