"""Rotary positions: pairs of channels turned by an angle that grows with time (RoFormer)."""

import torch
from torch import Tensor


def rotary_freqs(
    length: int | Tensor, channels: int, device: torch.device | str | None = None, base: float = 10_000.0
) -> Tensor:
    """Unit complex numbers by which the channel pairs of each position are turned.

    Args:
        length: T positions, 0 to T - 1; or a tensor (T,) of positions, between whole ones too, as of a sequence at
            another rate.
        channels: C of one head, even.
        device: where to make them.
        base: of the geometric series of frequencies.

    Returns:
        (T, C / 2) complex64.

    Raises:
        ValueError: an odd number of channels.
    """
    if channels % 2:
        raise ValueError(f"rotary positions need an even number of channels a head, got {channels}")
    frequencies = base ** (-torch.arange(0, channels, 2, device=device, dtype=torch.float32) / channels)
    positions = torch.arange(length) if isinstance(length, int) else length
    angles = positions.to(frequencies)[:, None] * frequencies
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, freqs: Tensor) -> Tensor:
    """Turn the channel pairs (2i, 2i + 1) of x by the angles of their position.

    The scalar product of two rotated vectors depends on the distance of their positions alone.

    Args:
        x: (B, T, H, C), C contiguous.
        freqs: (T, C / 2) complex, from `rotary_freqs`.

    Returns:
        (B, T, H, C), in the type of x.
    """
    if torch.compiler.is_compiling():  # the compiler knows no complex numbers, but makes one pass of this
        cos, sin = torch.view_as_real(freqs)[:, None].to(x.dtype).unbind(-1)
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
    # Complex numbers do it in one pass over memory; half precision has none, so it takes the way over float32.
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * freqs[:, None, :]).flatten(-2).to(x.dtype)
