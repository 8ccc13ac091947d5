"""The causal convolution against PyTorch's own."""

import pytest
import torch
from torch.nn import functional as F

from models.layers.causal_conv import causal_conv
from tests.models.scans import assert_near


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 64, 200])
def test_convolution_looks_back_and_its_gradients_are_the_librarys(kernel, length):
    g = torch.Generator().manual_seed(0)
    shapes = ((2, length, 3), (3, 1, kernel), (3,), (2, kernel - 1, 3))
    given = [torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_() for shape in shapes]
    x, weight, bias, tail = given
    output, after = causal_conv(*given)
    padded = torch.cat([tail, x], 1)
    expected = F.conv1d(padded.transpose(1, 2), weight, bias, groups=3).transpose(1, 2)
    torch.testing.assert_close((output, after), (expected, padded[:, length:]))
    weights = torch.randn(expected.shape, generator=g, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((output * weights).sum() + after.square().sum(), given),
        torch.autograd.grad((expected * weights).sum() + padded[:, length:].square().sum(), given),
    )
    torch.testing.assert_close(causal_conv(x, weight, bias)[0], causal_conv(x, weight, bias, torch.zeros_like(tail))[0])


def test_gradient_of_a_half_precision_convolution_adds_up_in_float32():
    x, weight = torch.ones(1, 4099, 2, dtype=torch.bfloat16), torch.ones(2, 1, 4, requires_grad=True)
    bias = torch.zeros(2, requires_grad=True)
    causal_conv(x, weight, bias)[0].sum().backward()
    assert_near(bias.grad, torch.full((2,), 4099.0).double(), 2**-8)
    assert_near(weight.grad[:, 0, 3], torch.full((2,), 4099.0).double(), 2**-8)
