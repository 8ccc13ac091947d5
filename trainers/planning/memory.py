"""Bytes that a rank holds, by part and strategy: what the engines of this project really keep, not a textbook's ZeRO.

N is the number of ranks, P the number of trained elements. Weights stay in full precision; mixed precision is autocast.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainers.engines.zero import BUCKET
from trainers.planning.inventory import Inventory, Part, Shape, elements
from trainers.planning.measure import SIXTEEN, Call, Measured

FULL: Final = 4  # bytes of an element of ZeRO's buffers
MEANINGS: Final = {
    "parameters": "weights, buffers, what is frozen",
    "gradients": "at their most, over a step",
    "optimizer": "state of the optimisers",
    "averages": "EMA of the weights",
    "master": "ZeRO's second copy of the weights that a rank steps",
    "buckets": "buffers that gradients are reduced in",
    "gathered": "whole weights while they are computed with",
    "copies": "16-bit copies of weights that autocast keeps for a step",
    "activations": "what a step computes, beside all this",
    "step": "what the optimiser's step makes on the way; not at the same time as activations",
}


@dataclass
class Memory:
    """Bytes of tensors of one rank, by part (`MEANINGS`).

    Attributes:
        gpu: on the GPU.
        host: in the memory of the machine, where something is offloaded.
    """

    gpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MEANINGS, 0.0))
    host: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Most bytes at once on the GPU: every part at its largest, and of activations and step the larger."""
        either = ("activations", "step")
        return sum(size for part, size in self.gpu.items() if part not in either) + max(
            map(self.gpu.__getitem__, either)
        )

    def add(self, part: str, size: float, offloaded: bool = False) -> None:
        """Put bytes on the GPU, or into the machine's memory."""
        place = self.host if offloaded else self.gpu
        place[part] = place.get(part, 0.0) + size


def memory(values: Mapping[str, Any], found: Inventory, measured: Measured, ranks: int) -> Memory:
    """What each rank holds.

    Args:
        values: the training config, resolved.
        found: what is trained.
        measured: a step of one rank's batch.
        ranks: N.
    """
    result = Memory()
    averaged, name = values["ema"]["enabled"], values["strategy"]["name"]
    result.add("parameters", found.fixed)
    result.add("activations", measured.activations)
    if name != "fsdp":  # which gathers in 16 bits
        result.add("copies", measured.copies)
    for part in found.parts:
        if name == "fsdp":
            _fsdp(result, part, ranks, values, averaged, measured.calls)
        elif name.startswith("deepspeed"):
            _zero(result, part, ranks, values, averaged)
        else:
            _whole(result, part, averaged, ranks)
    return result


def zero_options(strategy: Mapping[str, Any], count: int) -> dict[str, Any]:
    """What of DeepSpeed's configuration decides about memory, with the defaults of DeepSpeed 0.19.

    Args:
        strategy: the section of the config.
        count: elements that the engine trains; its bucket is no larger.
    """
    given = strategy.get("config", {}).get("zero_optimization", {})
    stage = int(strategy["name"][-1])
    return {
        "reduce_bucket_size": int(float(given.get("reduce_bucket_size", min(BUCKET, count)))),
        "overlap_comm": bool(given.get("overlap_comm", stage == 3)),
        "contiguous_gradients": bool(given.get("contiguous_gradients", True)),
        "persistence": int(float(given.get("stage3_param_persistence_threshold", 1e5))),
        "max_live": int(float(given.get("stage3_max_live_parameters", 1e9))),
    }


def persistent(part: Part, threshold: int) -> int:
    """Elements of the parameters that ZeRO 3 never lets go."""
    return sum(n for n in (elements([shape]) for shape in part.shapes) if n <= threshold)


def _whole(result: Memory, part: Part, averaged: bool, ranks: int) -> None:
    """One device, or DDP, where a gradient is made beside its bucket and copied into it."""
    size = part.count * part.weight
    largest = max((elements([shape]) for shape in part.shapes), default=0)
    result.add("parameters", size)
    result.add("gradients", size + (largest * part.weight if ranks > 1 else 0))
    result.add("optimizer", part.count * part.state * part.weight / FULL)
    result.add("step", part.count * part.step * part.weight / FULL)
    if averaged and part.averaged:
        result.add("averages", size)


def _fsdp(
    result: Memory, part: Part, ranks: int, values: Mapping[str, Any], averaged: bool, calls: Iterable[Call]
) -> None:
    """FSDP2: rows of everything; whole are the part's own parameters, and the blocks at work."""
    offloaded, precision = values["strategy"]["offload"] == "all", values["trainer"]["precision"]
    held = sum(_rows(shape, ranks) for shape in part.shapes)
    sizes = [elements(block) for block in part.blocks]
    root = part.count - sum(sizes)
    low = 2 if precision in SIXTEEN else part.weight
    result.add("parameters", held * part.weight, offloaded)
    result.add("optimizer", held * part.state, offloaded)
    result.add("step", held * part.step, offloaded)
    if averaged and part.averaged:
        result.add("averages", held * part.weight, offloaded)
    # A block inside of another comes while that one is whole. In the backward pass a block is let go, and its gradients
    # are shared out, when a gradient leaves it; the part's own parameters, and blocks that no gradient leaves, come at
    # the end of the pass.
    together = [own + around for own, around in zip(sizes, part.around, strict=True)]
    gathered, whole, shared = root + max(together, default=0), root, 0
    gradients = 0.0
    for call in reversed([call for call in calls if call.part == part.name]):
        size = sizes[call.block]
        gathered = max(gathered, whole + together[call.block])
        gradients = max(gradients, shared / ranks * part.weight + (whole + size) * low)
        if call.first:
            whole += size
        else:
            shared += size
    gradients = max(gradients, (part.count - whole) / ranks * part.weight + whole * low, held * part.weight)
    result.add("gathered", gathered * low)
    if offloaded:
        result.add("gradients", held * part.weight, True)
        result.add("gradients", whole * low)
    else:
        result.add("gradients", gradients)
    # One flat buffer each for the gathering ahead and for the reduction of the largest group.
    result.add("buckets", max([root, *sizes]) * (low + part.weight))


def _rows(shape: Shape, ranks: int) -> int:
    """Elements of the largest share when a parameter's rows are dealt out."""
    return math.ceil(shape[0] / ranks) * elements([shape[1:]]) if shape else 1


def _zero(result: Memory, part: Part, ranks: int, values: Mapping[str, Any], averaged: bool) -> None:
    strategy, precision = values["strategy"], values["trainer"]["precision"]
    stage, options = int(strategy["name"][-1]), zero_options(strategy, part.count)
    off = strategy["offload"] in ("optimizer", "all")
    if stage == 3:
        share = sum(math.ceil(elements([shape]) / ranks) for shape in part.shapes)
        result.add("parameters", share * FULL, strategy["offload"] == "all")
        result.add("gathered", min(part.count, persistent(part, options["persistence"]) + options["max_live"]) * FULL)
        # Where gradients add up, and where the step takes them from.
        result.add("gradients", 2 * share * FULL, off)
    else:
        share = math.ceil(part.count / (2 * ranks)) * 2  # a partition, aligned
        result.add("parameters", share * ranks * FULL)
        largest = max((elements([shape]) for shape in part.shapes), default=0)
        if stage == 1:  # reduces at the end of a backward pass, until when every rank has all gradients
            result.add("gradients", part.count * FULL)
            result.add("gradients", share * FULL if off else 0.0, off)
        else:
            # Those of a batch come beside the sum of the batches before.
            times = 2 if values["trainer"]["accumulate_grad_batches"] > 1 else 1
            result.add("gradients", times * share * FULL, off)
            # What no bucket holds waits outside.
            result.add("gradients", largest * FULL if largest > options["reduce_bucket_size"] else 0.0)
        if off:
            result.add("buckets", largest * FULL)
            result.add("master", share * FULL, True)  # what goes back to the GPU after a step
    result.add("master", share * FULL, off)
    result.add("optimizer", share * part.state, off)
    result.add("step", share * part.step, off)
    if averaged and part.averaged:
        result.add("averages", share * FULL, off)
    if options["contiguous_gradients"]:
        result.add("buckets", bucket_bytes(part, stage, precision, options))


def bucket_bytes(part: Part, stage: int, precision: str, options: Mapping[str, Any]) -> float:
    """Bytes of DeepSpeed's reduction buffers: one for each type that gradients are sent in, however small the network.

    ZeRO 1 and 2 make them in full precision for every type, ZeRO 3 in the type itself.
    """
    if precision not in SIXTEEN:
        sizes = [FULL]
    else:
        sizes = ([2 if stage == 3 else FULL] if part.low else []) + ([FULL] if part.count > part.low else [])
    twice = 2 if options["overlap_comm"] and stage < 3 else 1
    return float(sum(sizes) * options["reduce_bucket_size"] * twice)
