"""A convolution over time, of each channel for itself, that looks back only."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SPAN = 64  # steps whose products stay in a CPU's cache


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """y_t = bias + sum over j of weight_j x_(t - K + 1 + j), channel by channel.

    Args:
        x: (B, L, D).
        weight: (D, 1, K), as `nn.Conv1d` holds it.
        bias: (D,); none is zeros.
        tail: (B, K - 1, D), what came before x; none is zeros.

    Returns:
        (B, L, D), and the tail for what comes after.
    """
    past = weight.shape[2] - 1
    if tail is None:
        tail = x.new_zeros(x.shape[0], past, x.shape[2])
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    x = torch.cat([tail.to(x.dtype), x], 1)
    output = _convolve(x, weight.to(x.dtype), bias.to(x.dtype)) if x.shape[1] > past else x[:, :0]
    return output, x[:, x.shape[1] - past :].clone()  # a view would keep all of x alive


@torch.library.custom_op("cospeech::causal_conv", mutates_args=())
def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, L + K - 1, D) to (B, L, D); an operator of its own because of its backward pass."""
    return _slide(x, weight, bias).contiguous()


@_convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] - weight.shape[2] + 1, x.shape[2])


@torch.library.custom_op("cospeech::causal_conv_backward", mutates_args=())
def _convolve_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias.

    The library's own gradient of the weight takes a CPU longer than the whole scan behind it.
    """
    length, taps = gradient.shape[1], weight.shape[2]
    ends = F.pad(gradient, (0, 0, taps - 1, taps - 1))
    to_x = _slide(ends, weight.flip(2), None).contiguous()
    exact = torch.promote_types(x.dtype, torch.float32)
    to_weight = torch.zeros(taps, x.shape[2], dtype=exact, device=x.device)
    span = SPAN if x.device.type == "cpu" else max(length, 1)
    for first in range(0, length, span):
        piece = gradient[:, first : first + span].to(exact)
        for tap in range(taps):
            to_weight[tap] += (piece * x[:, first + tap : first + tap + piece.shape[1]]).sum((0, 1))
    to_bias = gradient.sum((0, 1), dtype=exact)
    return to_x, to_weight.t()[:, None].to(weight.dtype).contiguous(), to_bias.to(weight.dtype)


@_convolve_backward.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor) -> Any:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[0])


def _slide(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As pictures one pixel high, whose channels may come last: then nothing is transposed."""
    with torch.autocast(x.device.type, enabled=False):
        output = F.conv2d(x.transpose(1, 2)[:, :, None], weight[:, :, None], bias, groups=x.shape[2])
    return output[:, :, 0].transpose(1, 2)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
    return _convolve_backward(gradient, *ctx.saved_tensors)


_convolve.register_autograd(_gradients, setup_context=_remember)
