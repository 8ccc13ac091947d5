"""Attention with rotary positions."""

import pytest
import torch
from torch.nn import functional as F

from models.layers import attention
from models.layers.attention import Attention, rotary_attention
from models.layers.rotary import rotary_freqs

B, T, H, D = 2, 7, 3, 8


def parts(sizes: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(B, T, size, H, D, generator=g, requires_grad=True) for size in sizes]


def by_hand(*packed: torch.Tensor) -> torch.Tensor:
    """softmax(Q K^T / sqrt(d)) V with each pair of channels turned by position / 10000^(pair / pairs)."""
    query, key, value = torch.cat(packed, 2).unbind(2)
    angles = torch.arange(T)[:, None] / 10_000 ** (torch.arange(0, D, 2) / D)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]

    def turn(x: torch.Tensor) -> torch.Tensor:
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    scores = torch.einsum("bthd,bshd->bhts", turn(query), turn(key)) / D**0.5
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), value).flatten(2)


@pytest.mark.paper("MMGT-7")
@pytest.mark.parametrize("sizes", [(3,), (1, 2)])
@pytest.mark.parametrize("longest", [256, 0])
def test_both_ways_give_the_formula_and_its_gradients(sizes, longest, monkeypatch):
    monkeypatch.setattr(attention, "LONGEST", longest)
    packed, other = parts(sizes), parts(sizes)
    freqs = rotary_freqs(T, D)
    output, expected = rotary_attention(freqs, *packed), by_hand(*other)
    torch.testing.assert_close(output, expected)
    weight = torch.randn(B, T, H * D)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    for one, two in zip(packed, other, strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_gradient_by_finite_differences():
    packed = [part.detach().double().requires_grad_() for part in parts((3,))]
    freqs = rotary_freqs(T, D).to(torch.complex128)
    assert torch.autograd.gradcheck(lambda x: attention.cached_attention(freqs, None, x), packed)


def test_cross_attention_reads_the_other_sequence_only_for_keys_and_values():
    torch.manual_seed(0)
    layer = Attention(H * D, H, cross=True)
    x, memory = torch.randn(B, T, H * D), torch.randn(B, T, H * D)
    freqs = rotary_freqs(T, D)
    query = layer.inner(x).view(B, T, 1, H, D)
    key_value = layer.other(memory).view(B, T, 2, H, D)
    torch.testing.assert_close(layer(x, freqs, memory), F.linear(by_hand(query, key_value), layer.out.weight))


def test_half_precision_takes_the_other_way():
    packed = [part.detach().bfloat16() for part in parts((3,))]
    output = rotary_attention(rotary_freqs(T, D), *packed)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), by_hand(*parts((3,))), rtol=0.05, atol=0.05)


def test_memory_of_another_length_stands_at_positions_of_its_own():
    """Speech at 50 Hz beside frames at 25: a frame and its two steps of speech share a position."""
    torch.manual_seed(0)
    layer = Attention(H * D, H, cross=True)
    x, memory = torch.randn(B, T, H * D), torch.randn(B, 2 * T, H * D)
    freqs, at_half = rotary_freqs(T, D), rotary_freqs(torch.arange(2 * T) / 2, D)
    output = layer(x, freqs, memory, memory_freqs=at_half)
    assert output.shape == x.shape
    # Every second step alone, and all others out of sight, is cross-attention in step.
    mask = (torch.arange(2 * T) % 2 == 0).expand(B, -1)
    torch.testing.assert_close(layer(x, freqs, memory, mask, at_half), layer(x, freqs, memory[:, ::2]))
    # Where it stands matters, and gradients reach it.
    assert not torch.allclose(output, layer(x, freqs, memory, memory_freqs=rotary_freqs(2 * T, D)), atol=1e-3)
    memory.requires_grad_()
    layer(x, freqs, memory, memory_freqs=at_half).sum().backward()
    assert memory.grad.abs().sum() > 0


def test_memory_that_does_not_go_with_the_queries_is_refused():
    layer = Attention(H * D, H, cross=True)
    x, freqs = torch.randn(B, T, H * D), rotary_freqs(T, D)
    with pytest.raises(ValueError, match="give memory_freqs"):
        layer(x, freqs, torch.randn(B, T + 1, H * D))
    with pytest.raises(ValueError, match="needs a memory"):
        layer(x, freqs)
