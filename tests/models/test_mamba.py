"""The selective scan and the layers made of it, against loops over steps in float64."""

import sys
import types
import warnings

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from models.layers import mamba as layers
from models.layers import selective_scan as module
from models.layers.causal_conv import causal_conv
from models.layers.mamba import Mamba, MambaBlock, MambaCarry
from models.layers.selective_scan import selective_scan

BATCH, CHANNELS, STATES = 2, 5, 3
NAMES = ("u", "dt", "A", "B", "C", "D", "state")


def tensors(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """Arguments of the scan, and weights of its outputs in a loss."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    found = {
        "u": normal(BATCH, length, CHANNELS),
        "dt": F.softplus(normal(BATCH, length, CHANNELS) - 2),
        "A": -normal(CHANNELS, STATES).exp(),
        "B": normal(BATCH, length, STATES),
        "C": normal(BATCH, length, STATES),
        "D": normal(CHANNELS),
        "state": normal(BATCH, CHANNELS, STATES),
    }
    return {name: x.to(dtype).requires_grad_() for name, x in found.items()}


def by_steps(u, dt, A, B, C, D=None, state=None):
    """One step after another, as the definition says."""
    state = u.new_zeros(u.shape[0], *A.shape) if state is None else state
    outputs = []
    for ut, dtt, Bt, Ct in zip(*(x.unbind(1) for x in (u, dt, B, C)), strict=True):
        state = torch.exp(dtt[..., None] * A) * state + (dtt * ut)[..., None] * Bt[:, None]
        outputs.append((state * Ct[:, None]).sum(-1) + (0 if D is None else D * ut))
    return torch.stack(outputs, 1), state


def gradients(arguments: dict[str, Tensor], outputs: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Of a loss that looks at every output and the last state."""
    g = torch.Generator().manual_seed(1)
    loss = sum((x * torch.randn(x.shape, generator=g, dtype=torch.float64).to(x)).sum() for x in outputs)
    return list(torch.autograd.grad(loss, list(arguments.values())))


def assert_near(made: Tensor, expected: Tensor, tolerance: float = 1e-4, what: str = "") -> None:
    """Relative error of the whole tensor; of what is nothing, next to nothing."""
    error = (made.double() - expected).norm()
    assert made.shape == expected.shape
    assert error <= tolerance * expected.norm() + 1e-15, f"{what} is off by {error:.1e} of {expected.norm():.1e}"


def assert_same_scan(length: int, tolerance: float = 1e-4, **options) -> None:
    """The scan in float32 and its gradients against the loop in float64."""
    exact = tensors(length)
    rough = {name: x.detach().float().requires_grad_() for name, x in exact.items()}
    expected, output = by_steps(**exact), selective_scan(**rough, **options)
    for what, one, other in zip(("y", "last state"), output, expected, strict=True):
        assert_near(one, other, tolerance, what)
    for name, one, other in zip(NAMES, gradients(rough, output), gradients(exact, expected), strict=True):
        assert_near(one, other, tolerance, f"gradient of {name}")


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 333, 1001, 4096])
def test_scan_and_all_gradients_equal_the_definition(length):
    assert_same_scan(length)


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1000])
def test_chunks_do_not_show(chunk):
    assert_same_scan(130, chunk=chunk)


@pytest.mark.paper("IM-18")
def test_gradients_by_finite_differences():
    arguments = tensors(7)
    assert torch.autograd.gradcheck(
        lambda *x: selective_scan(*x[:6], state=x[6], chunk=3), tuple(arguments.values()), fast_mode=False
    )


def test_state_and_skip_may_be_left_out():
    arguments = {name: x for name, x in tensors(20).items() if name not in ("D", "state")}
    expected, output = by_steps(**arguments), selective_scan(**arguments)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradients(arguments, output), gradients(arguments, expected))


@pytest.mark.parametrize("output", [0, 1])
def test_a_loss_may_look_at_one_output_only(output):
    arguments = tensors(20)
    used = [arguments[name] for name in NAMES if output == 0 or name not in ("C", "D")]
    result = torch.autograd.grad(selective_scan(**arguments)[output].sum(), used)
    torch.testing.assert_close(result, torch.autograd.grad(by_steps(**arguments)[output].sum(), used))


@pytest.mark.paper("IM-18")
def test_pieces_with_a_carried_state_equal_one_pass_and_its_gradients():
    arguments = tensors(101)
    whole = selective_scan(**arguments)
    start, outputs, state = 0, [], arguments["state"]
    for size in (1, 1, 17, 3, 64, 1, 14):
        piece = {name: arguments[name][:, start : start + size] for name in ("u", "dt", "B", "C")}
        y, state = selective_scan(**piece, A=arguments["A"], D=arguments["D"], state=state)
        outputs.append(y)
        start += size
    output = torch.cat(outputs, 1), state
    torch.testing.assert_close(output, whole)
    torch.testing.assert_close(gradients(arguments, output), gradients(arguments, whole))


@pytest.mark.parametrize("largest", [1e3, 0.0])
def test_extreme_steps_and_inputs_stay_finite_and_right(largest):
    exact = tensors(200)
    with torch.no_grad():
        exact["dt"] *= largest / exact["dt"].max()
        exact["dt"][:, ::3] = 1e-12
        exact["u"] *= 1e6
        exact["A"] *= 100
    rough = {name: x.detach().float().requires_grad_() for name, x in exact.items()}
    expected, output = by_steps(**exact), selective_scan(**rough)
    for one, other in zip(output, expected, strict=True):
        assert_near(one, other)
    for name, one, other in zip(NAMES, gradients(rough, output), gradients(exact, expected), strict=True):
        assert_near(one, other, what=name)


def test_an_empty_sequence_hands_the_state_on():
    y, last = selective_scan(**(arguments := tensors(0)))
    assert y.shape == (BATCH, 0, CHANNELS)
    torch.testing.assert_close(last, arguments["state"])
    (gradient,) = torch.autograd.grad(last.sum(), [arguments["state"]])
    torch.testing.assert_close(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt": torch.rand(BATCH, 5, CHANNELS)}, r"dt has to be \(2, 4, 5\)"),
        ({"A": torch.rand(STATES)}, "A \\(D, N\\)"),
        ({"C": torch.rand(BATCH, 4, STATES + 1)}, "C has to be"),
        ({"state": torch.rand(BATCH, STATES, CHANNELS)}, "state has to be"),
        ({"chunk": 0}, "at least one step"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        selective_scan(**(tensors(4) | change))


def kept_by(run) -> int:
    """Numbers that a forward pass keeps for its backward pass, beside the inputs."""
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if not x.is_leaf:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = run()
    del result
    return sum(x.untyped_storage().nbytes() // x.element_size() for x in kept.values())


@pytest.mark.paper("IM-18")
@pytest.mark.parametrize("chunk", [8, 64])
def test_training_keeps_one_state_a_chunk(chunk):
    arguments = {name: x for name, x in tensors(512).items() if name != "state"}
    a_state = BATCH * CHANNELS * STATES
    kept = kept_by(lambda: selective_scan(**arguments, chunk=chunk))
    transposed = CHANNELS * STATES
    assert 512 // chunk * a_state <= kept <= 512 // chunk * a_state + transposed


class Outputs(TorchDispatchMode):
    """Sizes of what each call of the scan's operator returns."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.cospeech.selective_scan.default:
            self.seen.append([x.numel() for x in result])
        return result


def test_without_gradients_no_state_is_kept():
    arguments = tensors(64)
    with Outputs() as calls:
        selective_scan(**arguments)
        with torch.no_grad():
            y, last = selective_scan(**arguments)
        selective_scan(**{name: x.detach() for name, x in arguments.items()})
    assert not y.requires_grad
    assert not last.requires_grad
    assert [sizes[2] > 0 for sizes in calls.seen] == [True, False, False]


def test_autocast_does_not_reach_into_the_scan():
    plain, under = tensors(40, torch.float32), tensors(40, torch.float32)
    expected = selective_scan(**plain)
    wanted = gradients(plain, expected)
    with torch.autocast("cpu", torch.bfloat16):
        output = selective_scan(**under)
        found = gradients(under, output)
    for one, other in zip((*output, *found), (*expected, *wanted), strict=True):
        assert torch.equal(one, other)


def test_half_precision_is_computed_in_float32():
    arguments = tensors(300, torch.bfloat16)
    y, last = selective_scan(**arguments)
    expected, state = by_steps(**{name: x.double() for name, x in arguments.items()})
    assert (y.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    assert_near(last, state, 1e-5)
    assert_near(y, expected, 2**-8)


def test_meta_device_goes_forward_and_back():
    arguments = {name: x.detach().to("meta").requires_grad_() for name, x in tensors(50).items()}
    output = selective_scan(**arguments)
    for one, other in zip(gradients(arguments, output), arguments.values(), strict=True):
        assert (one.shape, one.device.type) == (other.shape, "meta")
    layer = MambaBlock(8, bidirectional=True).to("meta")
    x = torch.empty(2, 30_000, 8, device="meta", requires_grad=True)
    layer(x).sum().backward()
    assert all(p.grad is not None for p in (x, *layer.parameters()))


@pytest.mark.parametrize("needs_gradient", [True, False])
def test_operators_are_well_described(needs_gradient):
    """Their stand-ins for compilers have the shapes and strides of the real ones, and nothing given is written to."""
    u, dt, A, B, C, _, state = (x.detach().requires_grad_(needs_gradient) for x in tensors(20).values())
    given = (u, dt, A.t().contiguous(), B, C, state.transpose(1, 2).contiguous(), 6, needs_gradient)
    torch.library.opcheck(torch.ops.cospeech.selective_scan.default, given)
    starts = torch.ops.cospeech.selective_scan(*given[:-1], True)[2]
    given = (torch.randn_like(u), torch.randn_like(given[5]), *given[:5], starts, 6)
    given = tuple(x.detach() if isinstance(x, Tensor) else x for x in given)
    torch.library.opcheck(torch.ops.cospeech.selective_scan_backward.default, given)
    given = tuple(torch.randn(*shape).requires_grad_(needs_gradient) for shape in ((2, 9, 5), (5, 1, 4), (5,)))
    torch.library.opcheck(torch.ops.cospeech.causal_conv.default, given)
    given = (torch.randn(2, 6, 5), *(x.detach() for x in given[:2]))
    torch.library.opcheck(torch.ops.cospeech.causal_conv_backward.default, given)


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


# The fused kernel


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


# The layers


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
