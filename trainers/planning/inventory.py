"""What a stage trains: sizes of its parameters, and what its optimisers keep of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from settings import ConfigError
from trainers.engines.fragments import trained
from trainers.engines.fsdp import blocks
from trainers.planning.live import LiveBytes

Shape = tuple[int, ...]
PROBE = 64  # side of the square that optimisers are tried on


@dataclass(frozen=True)
class Part:
    """A part of a stage that is trained by one optimiser.

    Attributes:
        name: of the part in the stage.
        averaged: whether EMA averages it.
        weight: bytes of an element.
        shapes: of its trained parameters.
        blocks: those of them that FSDP gathers together: one entry a block, without what is in an inner one.
        around: elements of the blocks that a block is inside of, which are whole as long as it is; one entry a block.
        low: elements of layers that DeepSpeed sends in 16 bits under autocast.
        state: bytes that its optimiser keeps for an element.
        step: bytes that its optimiser's step makes for an element and lets go again.
    """

    name: str
    averaged: bool
    weight: int
    shapes: tuple[Shape, ...]
    blocks: tuple[tuple[Shape, ...], ...]
    around: tuple[int, ...]
    low: int
    state: float
    step: float

    @property
    def count(self) -> int:
        """Elements of all its parameters."""
        return elements(self.shapes)


@dataclass(frozen=True)
class Inventory:
    """What a stage holds.

    Attributes:
        parts: what is trained.
        fixed: bytes of buffers and of what is frozen; every rank has all of them.
    """

    parts: tuple[Part, ...]
    fixed: int

    @property
    def count(self) -> int:
        """Elements that are trained."""
        return sum(part.count for part in self.parts)


def elements(shapes: Iterable[Shape]) -> int:
    """Elements of tensors of these shapes."""
    return sum(torch.Size(shape).numel() for shape in shapes)


def inventory(stage: Any) -> Inventory:
    """Look through a stage, on any device. Raises ConfigError where optimisers and parts do not match."""
    parts = stage.parts()
    optimizers = _optimizers(stage)
    if len(optimizers) != len(parts):
        raise ConfigError(f"{type(stage).__name__} has {len(optimizers)} optimisers for {len(parts)} parts")
    held = {id(p) for part in parts.values() for p in part.parameters() if p.requires_grad}
    fixed = sum(t.nbytes for t in [*stage.parameters(), *stage.buffers()] if id(t) not in held)
    pairs = zip(parts.items(), optimizers, strict=True)
    return Inventory(tuple(_part(stage, name, part, optimizer) for (name, part), optimizer in pairs), fixed)


def _part(stage: Any, name: str, part: nn.Module, optimizer: Any) -> Part:
    own = trained(part)
    found: list[tuple[Shape, ...]] = []
    seen: set[int] = set()
    for block in blocks(part):  # inner ones first
        members = [p for p in trained(block).values() if id(p) not in seen]
        seen.update(map(id, members))
        found.append(tuple(tuple(p.shape) for p in members))
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # DeepSpeed's list, by exact class
    low = {id(p) for m in part.modules() if type(m) in layers for p in m.parameters(recurse=False)}
    state, step = _costs(optimizer)
    return Part(
        name=name,
        averaged=part is stage.network,
        weight=max((p.element_size() for p in own.values()), default=4),
        shapes=tuple(tuple(p.shape) for p in own.values()),
        blocks=tuple(found),
        around=_around(part, found),
        low=sum(p.numel() for p in own.values() if id(p) in low),
        state=state,
        step=step,
    )


def _around(part: nn.Module, found: list[tuple[Shape, ...]]) -> tuple[int, ...]:
    """Elements of the blocks around each block, for blocks as `_part` finds them."""
    names = {id(module): name for name, module in part.named_modules()}
    sizes = {names[id(block)]: elements(own) for block, own in zip(blocks(part), found, strict=True)}
    return tuple(sum(size for other, size in sizes.items() if name.startswith(f"{other}.")) for name in sizes)


def _optimizers(stage: Any) -> list[Any]:
    """The stage's optimisers, made as its trainer would make them."""
    stage._trainer = SimpleNamespace(estimated_stepping_batches=1000, max_steps=-1)
    try:
        output = stage.configure_optimizers()
    finally:
        stage._trainer = None
    if isinstance(output, tuple):
        output = output[0]
    output = output if isinstance(output, list) else [output]
    return [each["optimizer"] if isinstance(each, dict) else each for each in output]


def _costs(optimizer: Any) -> tuple[float, float]:
    """Bytes that an optimiser keeps for an element, and bytes that its step makes on the way: tried on a square."""
    probe = nn.Parameter(torch.zeros(PROBE, PROBE))
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["params"] = [probe]
        if group.get("foreach", False) is None:
            group["foreach"] = True  # as on a GPU
    del optimizer.param_groups[1:]
    live = LiveBytes()
    for _ in range(2):
        probe.grad = torch.ones_like(probe)
        with live:
            before = live.now
            live.peak = before
            optimizer.step()
    kept = sum(t.nbytes for t in optimizer.state[probe].values() if torch.is_tensor(t) and t.shape == probe.shape)
    return kept / probe.numel(), (live.peak - before) / probe.numel()
