"""The scan of a selective state-space layer in plain PyTorch, on any device, linear in the length of the sequence.

Sizes: B sequences of L steps, D channels, N states a channel. Inside, the channels come last (T, B, N, D): then every
operation runs along contiguous memory, with the step and its state factors broadcast.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = {"cpu": 16}  # steps whose states fit a CPU's second cache
LONG_CHUNK = 64  # elsewhere: fewer and larger operations


def chunked_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_(t-1) + dt_t u_t B_t and y_t = <C_t, h_t>, chunk by chunk.

    Inside a chunk the steps follow one another; what is no recurrence is done for the whole chunk at once. For the
    backward pass only the states at the starts of chunks are kept, and the others are computed again.

    Args:
        u: (B, L, D) inputs; all arguments are of one type.
        dt: (B, L, D) steps.
        A: (D, N).
        B: (B, L, N).
        C: (B, L, N).
        state: (B, D, N) to start from; none is zero.
        chunk: steps of a chunk; none takes what suits the device.

    Returns:
        (B, L, D) and the last state (B, D, N).
    """
    start = u.new_zeros(u.shape[0], A.shape[1], u.shape[2]) if state is None else state.transpose(1, 2)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (u, dt, A, B, C, start))
    steps = chunk or CHUNK.get(u.device.type, LONG_CHUNK)
    y, last, _ = _scan(u, dt, A.t().contiguous(), B, C, start, steps, keep)
    return y, last.transpose(1, 2)


@torch.library.custom_op("cospeech::selective_scan", mutates_args=())
def _scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor, chunk: int, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The plain scan; A is (N, D) and states are (B, N, D).

    An operator of its own, so that torch.compile and the meta device need not follow its steps.

    Returns:
        y (B, L, D), the last state, and the states before each chunk (chunks, B, N, D): none if not to be kept.
    """
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    starts = u.new_empty(_count(u, chunk) if keep else 0, *start.shape)
    before = start.clone(memory_format=torch.contiguous_format)
    decays, states = (_Room(before, u, chunk) for _ in range(2))
    with torch.autocast(u.device.type, enabled=False):
        for number, (ut, dtt, Bt, Ct, yt) in enumerate(_chunks(chunk, u, dt, B, C, y)):
            if keep:
                starts[number] = before
            h = _advance(dtt, dtt * ut, A, Bt, before, decays, states)[1]
            yt.copy_(_over_states(Ct, h))
            before.copy_(h[-1])
    return y, before, starts


@_scan.register_fake
def _(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor, chunk: int, keep: bool) -> Any:
    starts = u.new_empty(_count(u, chunk) if keep else 0, *start.shape)
    return u.new_empty(u.shape), start.new_empty(start.shape), starts


@torch.library.custom_op("cospeech::selective_scan_backward", mutates_args=())
def _scan_backward(
    gy: Tensor, glast: Tensor, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, starts: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, dt, A, B, C and the first state, from those of y (B, L, D) and the last state (B, N, D).

    The gradient of a state goes the other way: g_t = C_t gy_t + exp(dt_(t+1) A) g_(t+1). That of dt_t A, the logarithm
    of the decay, is w_t = exp(dt_t A) h_(t-1) g_t.
    """
    gu, gdt, gB, gC = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (u, dt, B, C))
    gA, carry = torch.zeros_like(A), glast.clone(memory_format=torch.contiguous_format)
    decays, states, gradients = (_Room(carry, u, chunk) for _ in range(3))
    chunks = zip(starts, _chunks(chunk, u, dt, B, C, gy, gu, gdt, gB, gC), strict=True)
    with torch.autocast(u.device.type, enabled=False):
        for before, (ut, dtt, Bt, Ct, gyt, gut, gdtt, gBt, gCt) in reversed(list(chunks)):
            x = dtt * ut
            a, h = _advance(dtt, x, A, Bt, before, decays, states)
            gCt.copy_(_over_channels(h, gyt))
            g = torch.mul(gyt[:, :, None], Ct[..., None], out=gradients.of(len(ut)))
            g[-1] += carry
            for t in range(len(ut) - 1, 0, -1):
                gradients.steps[t - 1].addcmul_(decays.steps[t], gradients.steps[t])
            torch.mul(a[0], g[0], out=carry)
            gx = _over_states(Bt, g)
            gBt.copy_(_over_channels(g, x))
            torch.mul(gx, dtt, out=gut)
            w = a.mul_(g)
            w[0] *= before
            w[1:] *= h[:-1]
            torch.addcmul(torch.mul(w, A, out=g).sum(2), gx, ut, out=gdtt)
            gA += w.mul_(dtt[:, :, None]).sum((0, 1))
    return gu, gdt, gA, gB, gC, carry


@_scan_backward.register_fake
def _(gy: Tensor, glast: Tensor, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any) -> Any:
    return tuple(x.new_empty(x.shape) for x in (u, dt, A, B, C, glast))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, _start, ctx.chunk, _keep = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[2])


def _gradients(ctx: Any, gy: Tensor | None, glast: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    u, dt, A, B, C, starts = ctx.saved_tensors
    gy = torch.zeros_like(u) if gy is None else gy
    glast = u.new_zeros(starts.shape[1:]) if glast is None else glast
    return *_scan_backward(gy, glast, u, dt, A, B, C, starts, ctx.chunk), None, None


_scan.register_autograd(_gradients, setup_context=_remember)


class _Room:
    """Memory for (T, B, N, D) of one chunk after another, as a whole and step by step."""

    def __init__(self, state: Tensor, u: Tensor, chunk: int):
        self.all = state.new_empty(min(chunk, u.shape[1]), *state.shape)
        self.steps = self.all.unbind()

    def of(self, length: int) -> Tensor:
        """For a chunk that may be shorter: the last."""
        return self.all[:length]


def _count(u: Tensor, chunk: int) -> int:
    return -(-u.shape[1] // chunk)


def _chunks(chunk: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors (B, L, ...) chunk by chunk, as (T, B, ...)."""
    return zip(*(x.transpose(0, 1).split(chunk) for x in tensors), strict=True) if tensors[0].shape[1] else iter(())


def _advance(
    dt: Tensor, x: Tensor, A: Tensor, B: Tensor, before: Tensor, decays: _Room, states: _Room
) -> tuple[Tensor, Tensor]:
    """Decays and states (T, B, N, D) of a chunk, from dt and x = dt u (T, B, D), A (N, D), B (T, B, N)."""
    a, h = decays.of(len(dt)), states.of(len(dt))
    torch.mul(dt[:, :, None], A, out=a).exp_()
    torch.mul(x[:, :, None], B[..., None], out=h)
    for _, decay, state in zip(range(len(dt)), decays.steps, states.steps):
        before = state.addcmul_(decay, before)
    return a, h


def _over_states(weights: Tensor, states: Tensor) -> Tensor:
    """Sum over N of weights (T, B, N) times states (T, B, N, D): (T, B, D)."""
    return torch.bmm(weights.reshape(-1, 1, weights.shape[2]), states.flatten(0, 1)).view_as(states[:, :, 0])


def _over_channels(states: Tensor, x: Tensor) -> Tensor:
    """Sum over D of states (T, B, N, D) times x (T, B, D): (T, B, N)."""
    return torch.bmm(x.reshape(-1, 1, x.shape[2]), states.flatten(0, 1).transpose(1, 2)).view(states.shape[:3])
