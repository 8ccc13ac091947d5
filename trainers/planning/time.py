"""Time of a step and efficiency of scaling, from counted operations, bytes sent and data-sheet figures.

compute = operations / (peak x utilisation). A ring over N GPUs sends 2 (N - 1) / N of the bytes of an all-reduce over
each link, and (N - 1) / N of those of a reduce-scatter or an all-gather; the slowest link sets the pace. A stated share
of that is hidden behind computing, as far as there is computing to hide it. Latencies, loading of data and the
optimiser's step count nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainers.planning.gpus import GPU
from trainers.planning.inventory import Inventory, Part, elements
from trainers.planning.measure import SIXTEEN
from trainers.planning.memory import FULL, persistent, zero_options

ROUNDS: Final = {"all-reduce": 2.0, "reduce-scatter": 1.0, "all-gather": 1.0}
"""How many times (N - 1) / N of the bytes pass each link of a ring."""


def measured_mfu(precision: str) -> float:
    """Share of an H200's peak that SMGA `paper` reached by the training command (`benchmarks.gpu`).

    In 16 bits it is low, for the card waits for kernels to be started.
    """
    return 0.047 if precision in SIXTEEN else 0.38


@dataclass(frozen=True)
class Assumptions:
    """What a data sheet does not say.

    Attributes:
        mfu: share of the peak that computing reaches.
        overlap: share of the communication that can be hidden behind computing.
        link: share of a link's bandwidth that collectives reach.
        gpus_per_node: GPUs that NVLink joins.
    """

    mfu: float
    overlap: float
    link: float
    gpus_per_node: int


@dataclass(frozen=True)
class Step:
    """A step on a number of GPUs.

    Attributes:
        gpus: N.
        compute, communication, exposed: seconds; exposed is what of the communication is waited for.
        samples: windows of all GPUs in a step.
    """

    gpus: int
    compute: float
    communication: float
    exposed: float
    samples: int

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute + self.exposed

    @property
    def efficiency(self) -> float:
        """Windows a second, over N times those of a GPU that never waits."""
        return self.compute / self.seconds if self.seconds else 1.0


def peak(gpu: GPU, precision: str) -> float:
    """Operations a second of a GPU in the precision that matrix products have."""
    if precision in ("64-true", "64"):
        return gpu.fp64
    return gpu.fp32 if precision in ("32-true", "32") else gpu.bf16


def traffic(values: Mapping[str, Any], found: Inventory, ranks: int) -> dict[str, float]:
    """Bytes that a rank gives to the collectives of one step, by kind (`ROUNDS`)."""
    sent = dict.fromkeys(ROUNDS, 0.0)
    if ranks == 1:
        return sent
    name, batches = values["strategy"]["name"], values["trainer"]["accumulate_grad_batches"]
    sixteen = values["trainer"]["precision"] in SIXTEEN
    for part in found.parts:
        if name == "fsdp":
            # Blocks are gathered in both passes, the rest once; gradients of every batch are scattered.
            inside = elements(shape for block in part.blocks for shape in block)
            sent["all-gather"] += batches * (part.count + inside) * (2 if sixteen else part.weight)
            sent["reduce-scatter"] += batches * part.count * part.weight
        elif name == "deepspeed_3":
            _zero_3(sent, part, values["strategy"], sixteen, batches)
        elif name.startswith("deepspeed"):
            # DeepSpeed's buckets are all-reduced, though each rank needs but its share of them.
            sent["all-reduce"] += _gradients(part, sixteen) * (1 if name == "deepspeed_1" else batches)
            sent["all-gather"] += part.count * FULL
        else:
            sent["all-reduce"] += part.count * part.weight
    return sent


def _gradients(part: Part, sixteen: bool) -> int:
    """Bytes of gradients as DeepSpeed sends them."""
    return part.count * FULL - (part.low * 2 if sixteen else 0)


def _zero_3(sent: dict[str, float], part: Part, strategy: Mapping[str, Any], sixteen: bool, batches: int) -> None:
    options = zero_options(strategy, part.count)
    kept = persistent(part, options["persistence"])
    low = max(0, part.low - kept) if sixteen else 0
    passes = 2 if part.count - kept > options["max_live"] else 1  # else weights stay from forward to backward
    sent["reduce-scatter"] += batches * _gradients(part, sixteen)
    sent["all-gather"] += batches * passes * ((part.count - kept) * FULL - low * 2) + kept * FULL


def step_time(
    values: Mapping[str, Any], found: Inventory, operations: int, gpu: GPU, ranks: int, assumed: Assumptions
) -> Step:
    """A step of N GPUs, each with the config's batch.

    Args:
        values: the training config, resolved.
        found: what is trained.
        operations: of the forward and backward pass of one batch.
        gpu: of each rank.
        ranks: N.
        assumed: what data sheets do not say.
    """
    batches = values["trainer"]["accumulate_grad_batches"]
    compute = batches * operations / (peak(gpu, values["trainer"]["precision"]) * assumed.mfu)
    # Rings leave a node through all of its network cards at once.
    nodes = ranks > assumed.gpus_per_node
    speed = assumed.link * (min(gpu.nvlink, assumed.gpus_per_node * gpu.nic) if nodes else gpu.nvlink)
    sent = traffic(values, found, ranks)
    passed = sum(ROUNDS[kind] * size * (ranks - 1) / ranks for kind, size in sent.items())
    communication = passed / speed
    hidden = min(assumed.overlap * communication, compute)
    samples = int(values["data"].get("batch_size") or 1) * batches * ranks
    return Step(ranks, compute, communication, communication - hidden, samples)


def sizes(gpus: int, gpus_per_node: int) -> list[int]:
    """Numbers of GPUs to show: 1, one node, and twice as many each time, up to what was asked for."""
    shown = [1]
    number = min(gpus, gpus_per_node)
    while number < gpus:
        shown.append(number)
        number *= 2
    return sorted({*shown, gpus})
