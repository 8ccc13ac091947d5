"""How near a training step of SMGA `paper` comes to the machine's own matrix-product rate, by counted operations.

    python -m benchmarks.smga [--batch 8] [--repeats 15] [--threads 2] [--compile] [--block-feedforward]

A step is forward, loss and backward in float32 with dropout on (`step`), and the same with the config's optimiser
behind it (`step_with_optimizer`, Adan over lists of tensors). `optimizers` has the steps of others over the same
weights and gradients, in turns with it, and what a whole step would take with each: the library's Adan, tensor by
tensor and over whole lists (that package is for tests: `pip install pytorch_optimizer`), and AdamW. With
`--block-feedforward` the network is that of the figures before blocks lost their feed-forwards.

Operations are those of matrix products, counted by torch.utils.flop_counter in the very step; element-wise work counts
nothing, so the share says what everything beside matrix products costs. The machine's rate is the best of three
products of 3,072 x 3,072 matrices, measured beside every step; the median over the repeats of (operations / time) /
rate counts; the first three warm up and are left out. Freed memory is kept, as `trainers.fit` does. Other work on the
machine falsifies it: the load is recorded.

`products_alone` is the same share for the step's own matrix products and nothing else: the very calls of a recorded
step, on its own tensors, one after another. More than this no step reaches whose products are those of the library;
`step_over_products` is what the step keeps of it. Writes `benchmarks/results/smga-DATE.json`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from datamodules.transport.memory import keep_freed_memory
from models.mmgt import SMGA
from models.mmgt.loss import smga_loss
from trainers.stage.adan import Adan

SIZE = 3072
FRAMES, CHANNELS = 80, 402
SPEECH = 1059  # features of `paper`
ADAN = {"lr": 1e-5, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.02}


def inputs(batch: int) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """What a step reads: arguments of the network, the true x0, and where it is known."""
    x0 = torch.randn(batch, FRAMES, CHANNELS)
    noisy, first_pose, speech = torch.randn_like(x0), torch.randn(batch, CHANNELS), torch.randn(batch, FRAMES, SPEECH)
    drop = torch.arange(batch) % 4 == 0
    return (
        (noisy, torch.randint(0, 1000, (batch,)), first_pose, speech, drop),
        x0,
        torch.ones_like(x0, dtype=torch.bool),
    )


class Products(TorchDispatchMode):
    """Records the matrix products of what runs under it, with their tensors, to be done over again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        repeated = {aten.mm.default: aten.mm.out, aten.bmm.default: aten.bmm.out, aten.addmm.default: aten.addmm.out}
        if func in repeated:
            self.calls.append((repeated[func], args, result))
        return result

    @torch.no_grad()
    def repeat(self) -> None:
        """All of them again, in their order."""
        for function, args, result in self.calls:
            function(*args, out=result)


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def optimizers(network: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """Who steps the weights, by name; each has a state of its own. The library's turns signs of gradients."""
    params = list(network.parameters())
    found: dict[str, torch.optim.Optimizer] = {"adan": Adan(params, **ADAN)}
    try:
        from pytorch_optimizer import Adan as LibraryAdan
    except ImportError:
        print("pytorch_optimizer is not installed, going on without it", flush=True)
    else:
        found["library's adan"] = LibraryAdan(params, **ADAN, weight_decouple=False, foreach=False)
        found["library's adan, lists"] = LibraryAdan(params, **ADAN, weight_decouple=False, foreach=True)
    return found | {"adamw, fused": torch.optim.AdamW(params, lr=1e-5, fused=True)}


def measure(batch: int, repeats: int, compiled: bool, block_feedforward: bool = False) -> dict[str, Any]:
    """The figures of one machine."""
    torch.manual_seed(0)
    network = SMGA(audio_channels=SPEECH, block_feedforward=block_feedforward).train()
    arguments, x0, known = inputs(batch)

    def step() -> None:
        smga_loss(network(*arguments), x0, known)["loss"].backward()

    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops()
    with Products() as products:
        step()
    with FlopCounterMode(display=False) as counter:
        products.repeat()
    assert counter.get_total_flops() == operations
    matrix = torch.randn(SIZE, SIZE)
    products.repeat()
    alone = statistics.median(operations / _rate(matrix) / seconds(products.repeat) for _ in range(repeats))
    del products
    network.zero_grad()
    if compiled:
        network.compile()
    contenders = optimizers(network)
    rows = []
    for repeat in range(3 + repeats):
        rate, stepped = _rate(matrix), seconds(step)
        updates = {name: seconds(optimizer.step) for name, optimizer in contenders.items()}
        network.zero_grad()
        if repeat >= 3:  # the first ones warm up
            rows.append((rate, stepped, updates))
    rates, steps, every = zip(*rows, strict=True)
    share = statistics.median(operations / s / r for r, s, _ in rows)
    own = statistics.median(updates["adan"] for updates in every)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "giga_operations": round(operations / 1e9, 1),
        "matrix_product_gflops": round(statistics.median(rates) / 1e9, 1),
        "step_seconds": round(statistics.median(steps), 4),
        "optimizer_seconds": round(own, 4),
        "step": round(share, 3),
        "step_with_optimizer": round(statistics.median(operations / (s + u["adan"]) / r for r, s, u in rows), 3),
        "optimizers": {
            name: {
                "seconds": round(statistics.median(updates[name] for updates in every), 4),
                "over_adan": round(statistics.median(updates[name] / updates["adan"] for updates in every), 2),
                "whole_step_over_adans": round(
                    statistics.median((s + u[name]) / (s + u["adan"]) for _, s, u in rows), 3
                ),
            }
            for name in contenders
        },
        "products_alone": round(alone, 3),
        "step_over_products": round(share / alone, 3),
    }


def _rate(matrix: Tensor) -> float:
    """Operations a second of one large product: the machine's own rate."""
    return 2 * SIZE**3 / min(seconds(lambda: matrix @ matrix) for _ in range(3))


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--block-feedforward", action="store_true", help="with a feed-forward behind each motion block")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    machine = describe()
    figures = measure(options.batch, options.repeats, options.compile, options.block_feedforward)
    path = write_result("smga", {"machine": machine, "options": vars(options), **figures})
    print(
        f"{figures['giga_operations']:.0f} G operations in {figures['step_seconds']:.3f} s: {figures['step']:.0%} of "
        f"the machine's {figures['matrix_product_gflops']:.0f} GFLOP/s; with Adan's step of "
        f"{figures['optimizer_seconds']:.3f} s "
        f"{figures['step_with_optimizer']:.0%}. Its matrix products alone reach {figures['products_alone']:.0%}. {path}"
    )


if __name__ == "__main__":
    main()
