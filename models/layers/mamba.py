"""Mamba: a selective state-space layer, and a residual block of it."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.causal_conv import causal_conv
from models.layers.selective_scan import selective_scan
from models.layers.transformer import normalise

SHORTEST_STEP, LONGEST_STEP = 1e-3, 0.1  # seconds of the layer's own clock at the start of training


@dataclass(frozen=True)
class MambaCarry:
    """What a Mamba layer remembers between two pieces of a sequence.

    Attributes:
        tail: (B, kernel - 1, E), the last inputs of the convolution.
        state: (B, E, N), of the scan.
    """

    tail: Tensor
    state: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return type(self)(self.tail.to(device), self.state.to(device))

    def detach(self) -> Self:
        """The same, through which no gradient flows."""
        return type(self)(self.tail.detach(), self.state.detach())


class Mamba(nn.Module):
    """Selective state-space layer (Mamba-1, figure 3 and algorithm 2; IM-18).

    x and gate z from one projection; a causal convolution over each channel and SiLU; from x come the step dt (softplus
    of a low-rank map), B and C of every position; the scan; times SiLU(z); back to the width. Parameters are named and
    shaped as in `mamba_ssm.Mamba`, so weights trained there load here.

    Args:
        width: channels W.
        state: states N a channel.
        expand: inner channels E over W.
        kernel: of the convolution.
        dt_rank: of the map to the steps; none is W / 16, rounded up.

    Raises:
        ValueError: a size below one.
    """

    def __init__(self, width: int, *, state: int = 16, expand: int = 2, kernel: int = 4, dt_rank: int | None = None):
        super().__init__()
        rank = math.ceil(width / 16) if dt_rank is None else dt_rank
        sizes = {"width": width, "state": state, "expand": expand, "kernel": kernel, "dt_rank": rank}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} of a Mamba layer has to be at least 1, got {size}")
        inner = expand * width
        self.splits = [rank, state, state]
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner)
        self.x_proj = nn.Linear(inner, sum(self.splits), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():  # the bias alone gives steps evenly spread on a logarithmic scale
            dt = torch.empty(inner).uniform_(math.log(SHORTEST_STEP), math.log(LONGEST_STEP)).exp()
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x: Tensor, carry: MambaCarry | None = None) -> Tensor:
        """(B, L, W) to the same; each position sees itself and what lies before it.

        Args:
            x: (B, L, W).
            carry: what `stream` returned for the piece before; none is the start of a sequence.
        """
        return self.stream(x, carry)[0]

    def stream(self, x: Tensor, carry: MambaCarry | None = None) -> tuple[Tensor, MambaCarry]:
        """A piece of a sequence, of any length: piece after piece gives what one pass over the whole gives.

        Args:
            x: (B, L, W).
            carry: what the piece before returned; none is the start of a sequence.

        Returns:
            (B, L, W), and what the next piece wants.
        """
        x, z = self.in_proj(x).chunk(2, -1)
        x, tail = causal_conv(x, self.conv1d.weight, self.conv1d.bias, None if carry is None else carry.tail)
        x = F.silu(x)
        dt, B, C = self.x_proj(x).split(self.splits, -1)
        # Steps span orders of magnitude: half precision keeps too little of the bias.
        exact = torch.promote_types(self.dt_proj.bias.dtype, torch.float32)
        dt = F.softplus(F.linear(dt, self.dt_proj.weight).to(exact) + self.dt_proj.bias.to(exact))
        A = -torch.exp(self.A_log.to(exact))
        y, state = selective_scan(x, dt, A, B, C, self.D, state=None if carry is None else carry.state)
        return self.out_proj(y * F.silu(z)), MambaCarry(tail, state)


class MambaBlock(nn.Module):
    """x + Mamba(layer norm of x); in both directions, x + forwards + backwards, with a Mamba for each.

    Args:
        width: channels W.
        bidirectional: whether each position sees the whole sequence.
        state, expand, kernel, dt_rank: as in `Mamba`.
    """

    def __init__(
        self,
        width: int,
        *,
        bidirectional: bool = False,
        state: int = 16,
        expand: int = 2,
        kernel: int = 4,
        dt_rank: int | None = None,
    ):
        super().__init__()

        def layer() -> Mamba:
            return Mamba(width, state=state, expand=expand, kernel=kernel, dt_rank=dt_rank)

        self.mamba = layer()
        self.backwards = layer() if bidirectional else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, W) to the same."""
        normal = normalise(x)
        output = x + self.mamba(normal)
        if self.backwards is not None:
            output = output + self.backwards(normal.flip(1)).flip(1)
        return output
