"""The scan of a selective state-space layer (Mamba's S6): in plain PyTorch, or by the kernel of `mamba_ssm`.

Sizes: B sequences of L steps, D channels, N states a channel.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.layers.chunked_scan import chunked_scan

MOST_STATES = 256  # what the fused kernel takes
TINY = 2.0**-60  # a step in which nothing decays: exp(TINY A) is exactly 1


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    state: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_(t-1) + dt_t u_t B_t and y_t = <C_t, h_t> + D u_t (Mamba, algorithm 2; IM-18).

    On CUDA the fused kernel of `mamba_ssm` does it where that is installed, elsewhere `chunked_scan`. Computed in
    float32, under autocast too, or in float64 if any argument is.

    Args:
        u: (B, L, D) inputs.
        dt: (B, L, D) steps, not negative.
        A: (D, N), negative.
        B: (B, L, N).
        C: (B, L, N).
        D: (D,), weight of the input itself.
        state: (B, D, N) to start from; none is zero.
        chunk: steps of a chunk of the plain scan; none takes what suits the device.

    Returns:
        (B, L, D) in the type of u, and the last state (B, D, N). Gradients flow through both states.

    Raises:
        ValueError: shapes that do not go together, or a chunk below one.
    """
    _check(u, dt, A, B, C, D, state, chunk)
    given = [x for x in (u, dt, A, B, C, D, state) if x is not None]
    exact = torch.float64 if any(x.dtype == torch.float64 for x in given) else torch.float32
    kind = u.dtype
    u, dt, A, B, C = (x.to(exact) for x in (u, dt, A, B, C))
    D, state = (None if x is None else x.to(exact) for x in (D, state))
    kernel = fused_kernel() if _on_cuda(u) and exact == torch.float32 and A.shape[1] <= MOST_STATES else None
    if kernel is not None:
        y, last = _fused(kernel, u, dt, A, B, C, D, state)
    else:
        y, last = chunked_scan(u, dt, A, B, C, state, chunk)
        y = y if D is None else torch.addcmul(y, u, D)
    return y.to(kind), last


def _on_cuda(x: Tensor) -> bool:
    return x.is_cuda


@functools.cache
def fused_kernel() -> Callable[..., Tensor] | None:
    """`selective_scan_fn` of mamba_ssm, if that is installed."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, OSError) as error:
        if getattr(error, "name", None) != "mamba_ssm":
            warnings.warn(
                f"mamba_ssm is there but cannot be imported, so the plain scan is used: {error}", stacklevel=3
            )
        return None
    return selective_scan_fn


def _fused(
    kernel: Callable[..., Tensor],
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The scan by the kernel of mamba_ssm, which has time last: u, dt (B, D, L), B, C (B, N, L).

    It takes no first state, and gives the last one no gradient. So both go through the sequence: N steps before it
    write the first state (u = state / dt, B the identity), N steps behind it read the last (C the identity), each so
    short that nothing decays (exp(dt A) is exactly 1).
    """
    batch, length, states = u.shape[0], u.shape[1], A.shape[1]
    nothing = u.new_zeros(batch, u.shape[2], states)
    identity = torch.eye(states, dtype=u.dtype, device=u.device).expand(batch, -1, -1)
    none, short = torch.zeros_like(identity), torch.full_like(nothing, TINY)
    u, dt, B, C = (x.transpose(1, 2) for x in (u, dt, B, C))
    rows = [(u, nothing), (dt, short), (B, none), (C, identity)]
    if state is not None:
        first = (state / TINY, short, identity, none)
        rows = [(before, *row) for before, row in zip(first, rows, strict=True)]
    u, dt, B, C = (torch.cat(row, 2) for row in rows)
    y = kernel(u, dt, A.contiguous(), B, C, D)
    return y[..., -states - length : -states].transpose(1, 2), y[..., -states:]


def _check(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, state: Any, chunk: int | None) -> None:
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(f"u has to be (B, L, D) and A (D, N), got {tuple(u.shape)} and {tuple(A.shape)}")
    batch, length, channels = u.shape
    states = A.shape[1]
    wanted = {
        "dt": (dt, (batch, length, channels)),
        "A": (A, (channels, states)),
        "B": (B, (batch, length, states)),
        "C": (C, (batch, length, states)),
        "D": (D, (channels,)),
        "state": (state, (batch, channels, states)),
    }
    for name, (x, shape) in wanted.items():
        if x is not None and x.shape != shape:
            raise ValueError(f"{name} has to be {shape} beside u {tuple(u.shape)}, got {tuple(x.shape)}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"a chunk has to have at least one step, got {chunk}")
