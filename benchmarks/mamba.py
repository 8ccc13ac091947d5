"""The selective scan of a Mamba layer, forward and backward, against others and against its own length.

    python -m benchmarks.mamba [--repeats 7] [--threads 2] [--lengths 250 1000 ...]

Contenders: `ours` (`models.layers.chunked_scan`), `naive` (a loop over steps under autograd; short lengths only),
`mambapy` (the parallel scan of that package; it is no dependency: `pip install --no-deps mambapy==1.2.0`) and, on
CUDA, `fused` (ours through the kernel of `mamba_ssm`). All get the same float32 inputs, take turns in every repeat,
and have to agree first, which warms them up, uncounted. A ratio is the median over the repeats of ours / other. The
growth exponent is the slope of log(time) over log(length) from 1,000 steps on; 1 is linear. Other work on the machine
falsifies it: the load is recorded.

On CUDA the bytes that have to be moved at least (every input, output and gradient once each way) over the measured rate
of a copy, over the time, is the share of the bandwidth limit. Writes `benchmarks/results/mamba-DATE.json`.
"""

import argparse
import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from datamodules.transport.memory import keep_freed_memory
from models.layers.chunked_scan import chunked_scan
from models.layers.mamba import Mamba
from models.layers.selective_scan import fused_kernel, selective_scan

LENGTHS = (250, 1_000, 2_000, 4_000, 8_000, 16_000)
NAIVE_LONGEST, MAMBAPY_LONGEST = 1_000, 4_000  # these keep every state of every step
LINEAR_FROM = 1_000
WITHOUT = "mambapy is not installed, going on without it: pip install --no-deps mambapy==1.2.0"

Scan = Callable[..., Tensor]


def plain(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Ours in plain PyTorch."""
    return chunked_scan(u, dt, A, B, C)[0]


def fused(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Ours through the fused kernel."""
    return selective_scan(u, dt, A, B, C)[0]


def naive(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Step after step."""
    state, outputs = u.new_zeros(u.shape[0], *A.shape), []
    for ut, dtt, Bt, Ct in zip(*(x.unbind(1) for x in (u, dt, B, C)), strict=True):
        state = torch.exp(dtt[..., None] * A) * state + (dtt * ut)[..., None] * Bt[:, None]
        outputs.append((state @ Ct[..., None])[..., 0])
    return torch.stack(outputs, 1)


def mambapy(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """As mambapy's own layer calls its parallel scan."""
    from mambapy.pscan import pscan

    states = pscan(torch.exp(dt[..., None] * A), (dt * u)[..., None] * B[:, :, None])
    return (states @ C[..., None])[..., 0]


def contenders(length: int, device: str) -> dict[str, Scan]:
    """Who takes part at a length."""
    found: dict[str, Scan] = {"ours": plain}
    if length <= NAIVE_LONGEST:
        found["naive"] = naive
    if length <= MAMBAPY_LONGEST and has_mambapy():
        found["mambapy"] = mambapy
    if device == "cuda" and fused_kernel() is not None:
        found["fused"] = fused
    return found


@functools.cache
def has_mambapy() -> bool:
    """Whether it can be measured; says so if not."""
    try:
        import mambapy.pscan  # noqa: F401
    except ImportError:
        print(WITHOUT, flush=True)
        return False
    return True


def inputs(batch: int, length: int, width: int, states: int, device: str) -> tuple[list[Tensor], Tensor]:
    """u, dt, A, B, C as a layer makes them at the start of training, and a gradient of the output."""
    g = torch.Generator().manual_seed(0)
    dt = torch.empty(batch, length, width).uniform_(math.log(1e-3), math.log(0.1), generator=g).exp()
    A = -torch.arange(1.0, states + 1).repeat(width, 1)
    u, gradient = (torch.randn(batch, length, width, generator=g) for _ in range(2))
    B, C = (torch.randn(batch, length, states, generator=g) for _ in range(2))
    return [x.to(device).requires_grad_() for x in (u, dt, A, B, C)], gradient.to(device)


def seconds(function: Callable[[], Any], device: str) -> float:
    """How long a call takes."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - started


def measure(length: int, options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Times of all contenders at a length, and ours over theirs."""
    tensors, gradient = inputs(options.batch, length, options.width, options.states, device)

    def run(scan: Scan) -> None:
        for tensor in tensors:
            tensor.grad = None
        scan(*tensors).backward(gradient)

    taking_part = contenders(length, device)
    expected = None
    for name, scan in taking_part.items():  # warms up, too
        run(scan)
        output = [tensor.grad.clone() for tensor in tensors]
        expected = expected or output
        for one, other in zip(output, expected, strict=True):
            assert (one - other).norm() < 1e-4 * other.norm(), f"{name} disagrees at {length} steps"
    rounds = [{name: seconds(lambda: run(scan), device) for name, scan in taking_part.items()}  # noqa: B023
              for _ in range(options.repeats)]  # fmt: skip
    return {
        "ms": {name: round(1000 * statistics.median(row[name] for row in rounds), 2) for name in taking_part},
        "ours_over": {
            name: round(statistics.median(row["ours"] / row[name] for row in rounds), 4)
            for name in taking_part
            if name != "ours"
        },
    }


def exponent(times: dict[int, float]) -> float | None:
    """Slope of log(time) over log(length), by least squares."""
    points = [(math.log(length), math.log(time)) for length, time in times.items() if length >= LINEAR_FROM]
    if len(points) < 2:
        return None
    return round(statistics.linear_regression(*zip(*points, strict=True)).slope, 3)


def copy_rate(device: str) -> float:
    """Bytes a second that a large copy moves, read and written."""
    source = torch.empty(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(seconds(lambda: target.copy_(source), device) for _ in range(10))


def least_bytes(batch: int, length: int, width: int, states: int) -> int:
    """What has to move: u, dt, B, C in and y out, then those and y's gradient in and four gradients out."""
    return 4 * batch * length * (8 * width + 6 * states)


def layer_ms(options: argparse.Namespace, device: str, length: int = 2_000) -> float:
    """A whole Mamba layer of that inner width, forward and backward."""
    torch.manual_seed(0)
    layer = Mamba(options.width // 2, state=options.states).to(device)
    x = torch.randn(options.batch, length, options.width // 2, device=device)
    times = [seconds(lambda: layer(x).sum().backward(), device) for _ in range(options.repeats + 1)]
    return round(1000 * statistics.median(times[1:]), 2)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=512, help="inner channels")
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="on the CPU even where there is a GPU")
    options = parser.parse_args(argv)
    device = "cpu" if options.cpu or not torch.cuda.is_available() else "cuda"
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    machine = describe() | {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    rows = {}
    for length in options.lengths:
        rows[length] = measure(length, options, device)
        print(f"{length:6d} steps: {rows[length]}", flush=True)
    result: dict[str, Any] = {"machine": machine, "seed": 0, "options": vars(options), "rows": rows}
    result["growth_exponent"] = {
        name: exponent({length: row["ms"][name] for length, row in rows.items() if name in row["ms"]})
        for name in ("ours", "mambapy", "fused")
    }
    result["layer_ms_at_2000"] = layer_ms(options, device)
    if device == "cuda":
        rate = copy_rate(device)
        result["copy_gb_per_second"] = round(rate / 1e9, 1)
        for length, row in rows.items():
            best = least_bytes(options.batch, length, options.width, options.states) / rate
            row["share_of_bandwidth"] = {
                name: round(1000 * best / row["ms"][name], 4) for name in ("ours", "fused") if name in row["ms"]
            }
    path = write_result("mamba", result)
    print(f"time grows with length ** {result['growth_exponent']['ours']}. {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
