"""The layers made of the selective scan: as in the paper, in pieces, under autocast and compiled."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.layers import mamba as layers
from models.layers.mamba import Mamba, MambaBlock, MambaCarry
from models.layers.selective_scan import selective_scan
from tests.models.scans import assert_near, by_steps


def official(layer: Mamba, x: Tensor) -> Tensor:
    """A Mamba layer written out from its parameters, time last, as in the paper's own code."""
    length = x.shape[1]
    rank, states = layer.dt_proj.in_features, layer.A_log.shape[1]
    inner, z = (x @ layer.in_proj.weight.T).transpose(1, 2).chunk(2, 1)
    padded = F.pad(inner, (layer.conv1d.kernel_size[0] - 1, 0))
    inner = F.conv1d(padded, layer.conv1d.weight, layer.conv1d.bias, groups=inner.shape[1])
    assert inner.shape[2] == length
    inner = (inner * inner.sigmoid()).transpose(1, 2)
    projected = inner @ layer.x_proj.weight.T
    dt = projected[..., :rank] @ layer.dt_proj.weight.T + layer.dt_proj.bias
    dt = torch.log1p(dt.exp())
    B, C = projected[..., rank : rank + states], projected[..., rank + states :]
    y, _ = by_steps(inner, dt, -layer.A_log.exp(), B, C, layer.D)
    z = z.transpose(1, 2)
    return (y * z * z.sigmoid()) @ layer.out_proj.weight.T


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("options", [{}, {"state": 3, "expand": 1, "kernel": 2, "dt_rank": 5}, {"kernel": 1}])
def test_layer_is_the_papers(options):
    torch.manual_seed(0)
    layer = Mamba(8, **options).double()
    x = torch.randn(2, 30, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), official(layer, x))
    over = (x, *layer.parameters())
    output = torch.autograd.grad(layer(x).square().sum(), over)
    torch.testing.assert_close(output, torch.autograd.grad(official(layer, x).square().sum(), over))


def test_weights_are_named_and_shaped_as_in_mamba_ssm():
    theirs = {
        "A_log": (64, 16),
        "D": (64,),
        "in_proj.weight": (128, 32),
        "conv1d.weight": (64, 1, 4),
        "conv1d.bias": (64,),
        "x_proj.weight": (34, 64),
        "dt_proj.weight": (64, 2),
        "dt_proj.bias": (64,),
        "out_proj.weight": (32, 64),
    }
    assert {name: tuple(x.shape) for name, x in Mamba(32).state_dict().items()} == theirs


def test_starts_as_the_paper_says():
    torch.manual_seed(0)
    layer = Mamba(256)
    steps = F.softplus(layer.dt_proj.bias)
    assert steps.min() >= 1e-3 * 0.999
    assert steps.max() <= 0.1 * 1.001
    low, high = steps.log().quantile(torch.tensor([0.1, 0.9]))
    assert (high - low).item() == pytest.approx(0.8 * torch.tensor(100.0).log().item(), rel=0.15), "log-uniform"
    torch.testing.assert_close(-layer.A_log.exp(), -torch.arange(1.0, 17).expand(512, 16))
    assert torch.equal(layer.D, torch.ones(512))
    assert layer.dt_proj.weight.abs().max() <= 16**-0.5


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("sizes", [(1,) * 9, (5, 1, 3), (2, 0, 7)])
def test_streaming_equals_one_pass_and_its_gradients(sizes):
    torch.manual_seed(0)
    layer, x = Mamba(8).double(), torch.randn(2, 9, 8, dtype=torch.float64)
    pieces, carry = [], None
    for piece in x.split(sizes, 1):
        y, carry = layer.stream(piece, carry)
        pieces.append(y)
    whole = layer(x)
    output = torch.cat(pieces, 1)
    torch.testing.assert_close(output, whole)
    over = tuple(layer.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(output.square().sum(), over), torch.autograd.grad(whole.square().sum(), over)
    )
    expected = layer.stream(x)[1]
    torch.testing.assert_close((carry.tail, carry.state), (expected.tail, expected.state))


def test_forward_goes_on_from_a_carry():
    torch.manual_seed(0)
    layer, x = Mamba(8), torch.randn(2, 9, 8)
    _, carry = layer.stream(x[:, :4])
    torch.testing.assert_close(layer(x[:, 4:], carry), layer(x)[:, 4:])
    assert not torch.allclose(layer(x[:, 4:]), layer(x)[:, 4:])


def test_carry_moves_and_lets_go():
    _, carry = Mamba(8).stream(torch.randn(2, 9, 8))
    moved = carry.to("meta")
    assert isinstance(moved, MambaCarry)
    assert (moved.tail.device.type, moved.state.device.type) == ("meta", "meta")
    assert (moved.tail.shape, moved.state.shape) == ((2, 3, 16), (2, 16, 16))
    assert carry.state.requires_grad
    let_go = carry.detach()
    assert not let_go.state.requires_grad
    assert not let_go.tail.requires_grad


@pytest.mark.parametrize("name", ["state", "expand", "kernel", "dt_rank"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=name):
        Mamba(8, **{name: 0})


def test_layer_under_autocast_is_near_float32():
    torch.manual_seed(0)
    layer, x = Mamba(32), torch.randn(2, 200, 32)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        output, carry = layer.stream(x)
        repeated, _ = layer.stream(x[:, 150:], layer.stream(x[:, :150])[1])
    assert output.dtype == torch.bfloat16
    assert carry.state.dtype == torch.float32
    assert_near(output, expected.double(), 0.02)
    assert_near(repeated, output[:, 150:].double(), 0.02)
    output.float().square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in layer.parameters())


def test_steps_are_those_of_float32_under_autocast(monkeypatch):
    layer = Mamba(32)
    torch.nn.init.zeros_(layer.dt_proj.weight)
    seen = []

    def scan(u, dt, *args, **kwargs):
        seen.append(dt)
        return selective_scan(u, dt, *args, **kwargs)

    monkeypatch.setattr(layers, "selective_scan", scan)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 3, 32))
    torch.testing.assert_close(seen[0], F.softplus(layer.dt_proj.bias).expand(1, 3, 64))


def seen_from(block: MambaBlock, position: int) -> list[int]:
    """Positions whose input moves the output at one position."""
    x = torch.randn(1, 10, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x)[:, position].sum(), x)
    return gradient.abs().sum((0, 2)).nonzero().flatten().tolist()


@pytest.mark.parametrize(("bidirectional", "seen"), [(False, range(7)), (True, range(10))])
def test_block_sees_the_past_or_both_sides(bidirectional, seen):
    torch.manual_seed(0)
    assert seen_from(MambaBlock(8, bidirectional=bidirectional), 6) == list(seen)


def test_block_is_a_residual_over_layer_norm():
    torch.manual_seed(0)
    block, x = MambaBlock(8, bidirectional=True), 5 * torch.randn(2, 11, 8) + 3
    normal = F.layer_norm(x, (8,))
    torch.testing.assert_close(block(x), x + block.mamba(normal) + block.backwards(normal.flip(1)).flip(1))
    names = {name.split(".")[0] for name, _ in block.named_parameters()}
    assert names == {"mamba", "backwards"}
    assert MambaBlock(8).backwards is None


def test_compiles_in_one_piece():
    torch.manual_seed(0)
    layer = MambaBlock(8)
    x = torch.randn(2, 21, 8)
    expected = layer(x)
    expected.square().sum().backward()
    wanted = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    output = compiled(x)
    output.square().sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close([p.grad for p in layer.parameters()], wanted)
