"""What a rank really holds while it trains: bytes of tensors, by part. A plan is measured against it."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainers.callbacks.ema import EMA

PARTS = ("parameters", "gradients", "optimizer", "averages", "master", "buckets", "gathered")
"""Parts that are counted, under the names that a plan gives them."""


class SentBytes(TorchDispatchMode):
    """Counts the bytes that are given to collectives while it is on, by kind.

    Attributes:
        bytes: of the whole tensor: what is reduced, or what is gathered.
    """

    KINDS: Final = {"allreduce": "all-reduce", "reduce_scatter": "reduce-scatter", "allgather": "all-gather"}

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = dict.fromkeys(self.KINDS.values(), 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            kind = next((kind for word, kind in self.KINDS.items() if word in func._schema.name), None)
            if kind is not None:
                # Outputs first, then inputs; the whole is the longer of the two.
                sides = [sum(t.nbytes for t in tree_leaves(side) if isinstance(t, Tensor)) for side in args[:2]]
                self.bytes[kind] += max(sides)
        return func(*args, **(kwargs or {}))


class HeldBytes(L.Callback):
    """Counts the bytes of tensors that this rank holds, each part at its largest.

    Looks after the backward pass, right before the optimiser's step and after it; in the second step, whose like all
    others are, also while the network runs forward (gathered weights) and whenever a gradient comes in (gradients,
    buckets). A storage counts once, with the first part that has it. Bytes sent are those of the last step. Written as
    `held-<rank>.json` into the run folder when training ends.
    """

    def __init__(self) -> None:
        self.bytes: dict[str, int] = dict.fromkeys(PARTS, 0)
        self.sent = SentBytes()
        self._trainer: Any = None
        self._own: Any = None
        self._closely = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._trainer, self._own = trainer, Own.of(pl_module)
        # Weights are gathered for those that have some of their own to train.
        own = (m for m in pl_module.modules() if any(p.requires_grad for p in m.parameters(recurse=False)))
        for module in own:
            module.register_forward_pre_hook(lambda *_: self._look_closely("gathered"))
        self._watch(pl_module.parameters())
        for optimizer in trainer.optimizers:
            inner = getattr(optimizer, "optimizer", optimizer)
            inner.register_step_pre_hook(lambda *_: self._look("gradients"))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.sent = SentBytes()
        self._closely = batch_idx // trainer.accumulate_grad_batches == 1
        self.sent.__enter__()
        if batch_idx == 1:  # FSDP has made them in the first step
            self._watch(_whole(self._own))

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._look(*PARTS)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.sent.__exit__(None, None, None)
        self._look(*PARTS)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        path = Path(trainer.default_root_dir) / f"held-{trainer.global_rank}.json"
        path.write_text(json.dumps({"bytes": self.bytes, "sent": self.sent.bytes}) + "\n", encoding="utf-8")

    def _watch(self, parameters: Iterable[Tensor]) -> None:
        for p in parameters:
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(lambda _: self._look_closely("gradients", "buckets", "gathered"))

    def _look_closely(self, *parts: str) -> None:
        if self._closely:
            self._look(*parts)

    def _look(self, *parts: str) -> None:
        for part, size in held(self._trainer, self._own, parts).items():
            self.bytes[part] = max(self.bytes[part], size)


@dataclass(frozen=True)
class Own:
    """What a stage is made of, looked up once: going through a thousand modules at every look takes most of a step."""

    parameters: Sequence[Tensor]
    buffers: list[Tensor]
    sharded: Sequence[Any]

    @classmethod
    def of(cls, stage: torch.nn.Module) -> Self:
        """That of a stage that is about to be trained."""
        sharded = [module for module in stage.modules() if isinstance(module, FSDPModule)]
        return cls(list(stage.parameters()), list(stage.buffers()), sharded)


def held(trainer: Any, own: Own, parts: Iterable[str] = PARTS) -> dict[str, int]:
    """Bytes of tensors that this rank holds now, by part; of those that are asked for."""
    seen: set[int] = set()
    engines = [o for o in trainer.optimizers if hasattr(o, "ipg_buckets")]  # ZeRO's
    tensors: dict[str, Callable[[], Iterable[Any]]] = {
        "gathered": lambda: _gathered(own),
        "parameters": lambda: [*(getattr(p, "ds_tensor", p) for p in own.parameters), *own.buffers],
        "buckets": lambda: [t for o in engines for bucket in o.ipg_buckets.values() for t in _buffers(bucket)],
        "master": lambda: [t for o in engines for t in _masters(o)],
        "gradients": lambda: (
            [p.grad for p in [*own.parameters, *_whole(own)]] + [t for o in engines for t in _partitions(o)]
        ),
        "optimizer": lambda: [
            value
            for optimizer in trainer.optimizers
            for state in getattr(optimizer, "optimizer", optimizer).state.values()
            for value in state.values()
        ],
        "averages": lambda: [t for c in trainer.callbacks if isinstance(c, EMA) for t in c.averages.values()],
    }
    wanted, output = set(parts), {}
    for part, those in tensors.items():
        # What stands before a part may hold its storages; a step of a thousand modules is looked at as often, so that
        # what stands behind the last one is not looked through.
        size = sum(_take(tensor, seen) for tensor in those())
        if part in wanted:
            output[part] = size
            wanted.remove(part)
        if not wanted:
            break
    return output


def _take(tensor: Any, seen: set[int]) -> int:
    """Bytes of a tensor's storage, 0 where it was seen before."""
    if not isinstance(tensor, Tensor):
        return 0
    # Not by to_local(), which makes a view of every parameter: a thousand parameters are looked at as often.
    storage = getattr(tensor, "_local_tensor", tensor).untyped_storage()
    size, address = storage.nbytes(), storage.data_ptr()
    if not size or address in seen:
        return 0
    seen.add(address)
    return size


def _gathered(own: Own) -> list[Any]:
    """Whole weights that are there for a while, where ranks keep parts."""
    tensors: list[Any] = [p.data for p in own.parameters if hasattr(p, "ds_tensor")]
    return [*tensors, *_whole(own), *(t for each in _fsdp_params(own) for t in each.all_gather_outputs)]


def _whole(own: Own) -> list[Tensor]:
    """FSDP's parameters as they are while they are whole: a module has them in place of their rows for that while."""
    found = [getattr(each, "_unsharded_param", None) for each in _fsdp_params(own)]
    return [p for p in found if p is not None]


def _fsdp_params(own: Own) -> list[Any]:
    return [p for m in own.sharded for group in m._get_fsdp_state()._fsdp_param_groups for p in group.fsdp_params]


def _buffers(bucket: Any) -> list[Any]:
    buffer = bucket.buffer
    return list(buffer) if isinstance(buffer, (list, tuple)) else [buffer]


def _masters(optimizer: Any) -> list[Any]:
    return [
        *getattr(optimizer, "single_partition_of_fp32_groups", []),
        *getattr(optimizer, "fp32_partitioned_groups_flat", []),
    ]


def _partitions(optimizer: Any) -> list[Any]:
    """Gradients that ZeRO keeps for its step."""
    tensors = [t.grad for t in _masters(optimizer)] + [getattr(optimizer, "grad_partitions_flat_buffer", None)]
    for kept in ("averaged_gradients", "all_grad_tensors"):
        for group in getattr(optimizer, kept, {}).values():
            tensors += group or []
    return tensors
