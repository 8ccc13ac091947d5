"""The selective scan against a loop over steps in float64: values, gradients, memory, precisions."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.layers.mamba import MambaBlock
from models.layers.selective_scan import selective_scan
from tests.models.scans import BATCH, CHANNELS, NAMES, STATES, assert_near, by_steps, gradients, tensors


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
