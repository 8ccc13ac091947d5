"""A training step without a GPU: the memory it takes and the operations it does."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from settings import ConfigError, get_logger
from trainers.engines.fsdp import blocks
from trainers.planning.autocast import as_on_gpu
from trainers.planning.live import LiveBytes
from trainers.planning.samples import sample_batch
from trainers.stage.base import SampleGenerator, Stage
from trainers.stages import STAGES

logger = get_logger(__name__)

SIXTEEN = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "16": torch.float16}
READ = ("latent_channels", "downscaling", "image_channels")
"""Attributes of networks that say what a batch has to hold."""
WEIGHTS = {"64-true": torch.float64, "64": torch.float64}


@dataclass(frozen=True)
class Call:
    """A block (`trainers.engines.fsdp.blocks`) that is called.

    Attributes:
        part: name of its part.
        block: which of the part's blocks.
        first: no gradient flows on from its inputs.
    """

    part: str
    block: int
    first: bool


@dataclass(frozen=True)
class Measured:
    """What one forward and backward pass of one batch on one device takes.

    Attributes:
        activations: most bytes alive at once of what the pass makes, beside gradients and copies of weights.
        copies: bytes of the 16-bit copies of weights that autocast makes and keeps.
        operations: floating-point operations of matrix products and convolutions.
        calls: the blocks of all parts in the order in which they are first called.
        how: how it was measured, in words.
    """

    activations: int
    copies: int
    operations: int
    calls: tuple["Call", ...]
    how: str


class _Draws(SampleGenerator):
    """Random numbers of the right shapes; the meta device has no generators."""

    def __init__(self, count: int, device: str):
        self.count, self.device = count, torch.device(device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.count, *shape, device=self.device)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, (self.count, *shape), device=self.device)


def build_stage(options: Mapping[str, Any], device: str = "meta", precision: str = "32-true") -> Stage:
    """A stage outside of any trainer, in training mode; on the meta device its weights take no memory."""
    with torch.device(device):
        stage: Stage = STAGES.build(dict(options))
    if precision in WEIGHTS:
        stage.to(WEIGHTS[precision])
    return stage.train()


def measure(values: Mapping[str, Any], size: int) -> Measured:
    """One step of a stage: on the meta device, where no number is computed, or on the CPU where the stage cannot.

    Args:
        values: the training config, resolved.
        size: windows of the batch.

    Raises:
        ConfigError: the stage cannot be built, or takes no step.
    """
    try:
        activations, copies, operations, calls = _step(values, size, "meta")
        return Measured(activations, copies, operations, calls, "on the meta device, with the whole batch")
    except (NotImplementedError, RuntimeError) as error:
        # What looks at numbers, or mixes devices, cannot run without them.
        logger.info("the stage does not run on the meta device (%s); measuring on the CPU", str(error).splitlines()[0])
    try:
        one, two = (_step(values, count, "cpu") for count in (1, 2))
    except RuntimeError as error:
        raise ConfigError(f"stage={values['stage']['name']}: no training step to measure ({error})") from error
    activations, copies, operations = (a + (b - a) * (size - 1) for a, b in zip(one[:3], two[:3], strict=True))
    return Measured(activations, copies, operations, one[3], "on the CPU, carried on from batches of 1 and 2")


def _step(values: Mapping[str, Any], size: int, device: str) -> tuple[int, int, int, tuple[Call, ...]]:
    """Bytes of activations and of copies of weights, operations, and calls of blocks."""
    live, counter = LiveBytes(), FlopCounterMode(display=False)
    copied, _ = _run(values, size, device, live)
    # Apart: counting operations holds on to tensors that recomputation would have let go.
    _, calls = _run(values, size, device, counter)
    return live.peak, copied, counter.get_total_flops(), calls


def _run(
    values: Mapping[str, Any], size: int, device: str, under: LiveBytes | FlopCounterMode
) -> tuple[int, tuple[Call, ...]]:
    """A forward and a backward pass under something that counts; bytes of copies of weights, and calls of blocks."""
    precision = values["trainer"]["precision"]
    stage = build_stage(values["stage"], device, precision)
    if values["gradient_checkpointing"]:
        stage.enable_gradient_checkpointing()
    # A network that is built on another one has sizes that its own config does not say.
    known = {name: value for name in READ if (value := getattr(stage.network, name, None)) is not None}
    reads = {**known, **values["stage"], "speech_layers": stage.speech_layers}
    batch = sample_batch(stage.needs, values["data"], reads, size, device)
    leave_out = under.leave_out if isinstance(under, LiveBytes) else lambda *tensors: None
    copied = 0

    def copy(weight: Tensor) -> None:
        nonlocal copied
        copied += weight.nbytes
        leave_out(weight)

    for p in stage.parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(lambda p: leave_out(p.grad))
    leave_out(*stage.parameters(), *stage.buffers(), *_tensors(vars(batch)))
    _alone(stage, len(batch), device)
    calls = _watch_blocks(stage)
    with under, _precision(precision, device, copy):
        loss: Any = stage.training_step(batch, 0)
        loss = loss["loss"] if isinstance(loss, dict) else loss
        if isinstance(loss, Tensor) and stage.automatic_optimization:
            loss.backward()
    return copied, tuple(calls.values())


def _watch_blocks(stage: Stage) -> dict[int, Call]:
    """Blocks by their modules' ids, filled as they are called."""
    calls: dict[int, Call] = {}

    def called(part: str, number: int, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        calls.setdefault(id(module), Call(part, number, not any(x.requires_grad for x in tensors)))

    for name, part in stage.parts().items():
        for number, block in enumerate(blocks(part)):
            block.register_forward_pre_hook(partial(called, name, number), with_kwargs=True)
    return calls


def _precision(precision: str, device: str, copy: Any) -> contextlib.AbstractContextManager[Any]:
    dtype = SIXTEEN.get(precision)
    if device == "meta":
        return as_on_gpu(dtype, copy)
    return torch.autocast("cpu", dtype) if dtype else contextlib.nullcontext()


def _alone(stage: Any, count: int, device: str) -> None:
    """What a step asks of its trainer, without one."""
    stage.log = stage.log_dict = lambda *args, **kwargs: None
    stage.generator = lambda batch: _Draws(count, device)
    stage.update = lambda part, loss: loss.backward()
    stage.manual_backward = lambda loss, *args, **kwargs: loss.backward()


def _tensors(values: Mapping[str, Any]) -> Iterator[Tensor]:
    """All of nested values."""
    for value in values.values():
        if isinstance(value, Mapping):
            yield from _tensors(value)
        elif isinstance(value, Tensor):
            yield value
