"""The selective scan by mamba_ssm's fused kernel: a stand-in that computes the same, and the real one on a GPU."""

import sys
import types
import warnings

import pytest
import torch

from models.layers import selective_scan as module
from models.layers.mamba import Mamba
from models.layers.selective_scan import selective_scan
from tests.models.scans import NAMES, assert_near, by_steps, gradients, tensors


def imitated(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False):
    """mamba_ssm's `selective_scan_fn`: its arguments, what it refuses, and the sums, in plain loops."""
    batch, channels, length = u.shape
    states = A.shape[1]
    assert u.dtype == delta.dtype == B.dtype == C.dtype in (torch.float32, torch.bfloat16, torch.float16)
    assert A.dtype == torch.float32
    assert delta.shape == (batch, channels, length)
    assert A.shape == (channels, states)
    assert B.shape == C.shape == (batch, states, length)
    assert D is None or (D.dtype == torch.float32 and D.shape == (channels,) and D.stride(0) == 1)
    assert z is None
    assert delta_bias is None
    assert not delta_softplus
    y, last = by_steps(*(x.transpose(1, 2) for x in (u, delta)), A, *(x.transpose(1, 2) for x in (B, C)), D)
    y = y.transpose(1, 2).to(u.dtype)
    # The real one's last state has no gradient either.
    return (y, last.detach()) if return_last_state else y


@pytest.fixture
def mamba_ssm(monkeypatch):
    """A stand-in for mamba_ssm on a machine that takes its CPU for a GPU; the list of calls."""
    calls = []

    def selective_scan_fn(*args, **kwargs):
        calls.append(args[0].shape)
        return imitated(*args, **kwargs)

    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    monkeypatch.setitem(sys.modules, "mamba_ssm", types.ModuleType("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", types.ModuleType("mamba_ssm.ops"))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    monkeypatch.setattr(module, "_on_cuda", lambda x: True)
    module.fused_kernel.cache_clear()
    yield calls
    module.fused_kernel.cache_clear()


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("length", [1, 40])
@pytest.mark.parametrize("left_out", [(), ("state",), ("D", "state")])
def test_fused_kernel_gives_equal_outputs_states_and_gradients(mamba_ssm, length, left_out):
    exact = {name: x for name, x in tensors(length).items() if name not in left_out}
    rough = {name: x.detach().float().requires_grad_() for name, x in exact.items()}
    expected, output = by_steps(**exact), selective_scan(**rough)
    assert len(mamba_ssm) == 1
    for one, other in zip(output, expected, strict=True):
        assert_near(one, other, 1e-5)
    for name, one, other in zip(exact, gradients(rough, output), gradients(exact, expected), strict=True):
        assert_near(one, other, 1e-5, f"gradient of {name}")


def test_fused_kernel_is_left_alone_where_it_cannot_help(mamba_ssm, monkeypatch):
    selective_scan(**tensors(5))
    assert not mamba_ssm, "it has no float64"
    monkeypatch.setattr(module, "_on_cuda", lambda x: x.is_cuda)
    selective_scan(**tensors(5, torch.float32))
    assert not mamba_ssm, "it has no CPU"


def test_layer_goes_through_the_fused_kernel_piece_by_piece(mamba_ssm, monkeypatch):
    torch.manual_seed(0)
    layer, x = Mamba(8), torch.randn(2, 12, 8)
    pieces, carry = [], None
    for piece in x.split([1, 7, 4], 1):
        y, carry = layer.stream(piece, carry)
        pieces.append(y)
    assert len(mamba_ssm) == 3
    monkeypatch.setattr(module, "_on_cuda", lambda x: False)
    torch.testing.assert_close(torch.cat(pieces, 1), layer(x))


def test_a_broken_mamba_ssm_is_said_and_done_without(mamba_ssm, monkeypatch):
    monkeypatch.delattr(sys.modules["mamba_ssm.ops.selective_scan_interface"], "selective_scan_fn")
    with pytest.warns(UserWarning, match="mamba_ssm"):
        y, _ = selective_scan(**(arguments := tensors(5, torch.float32)))
    assert_near(y, by_steps(**{name: x.double() for name, x in arguments.items()})[0])


def test_no_mamba_ssm_is_nothing_to_speak_of(mamba_ssm, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("mamba_ssm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module.fused_kernel() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("plain", [True, False])
def test_on_a_gpu(plain, monkeypatch):
    if plain:
        monkeypatch.setattr(module, "_on_cuda", lambda x: False)
    elif module.fused_kernel() is None:
        pytest.skip("mamba_ssm is not installed")
    exact = tensors(3000)
    rough = {name: x.detach().float().cuda().requires_grad_() for name, x in exact.items()}
    expected, output = by_steps(**exact), selective_scan(**rough)
    for one, other in zip(output, expected, strict=True):
        assert_near(one.cpu(), other)
    for name, one, other in zip(NAMES, gradients(rough, output), gradients(exact, expected), strict=True):
        assert_near(one.cpu(), other, what=f"gradient of {name}")
