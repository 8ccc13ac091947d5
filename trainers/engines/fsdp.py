"""FSDP2: every rank holds some rows of every parameter, of its gradient and of its optimiser's state."""

from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from settings import ConfigError
from trainers.engines.fragments import Fragment, Shards, local, trained
from trainers.engines.state import group_names
from trainers.engines.strategy import InPieces, Trained, frozen_modules, parts_of

_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Rows(Shards):
    """Rows of parameters, as FSDP2 cuts them."""

    whole = False

    def fragments(self, part: nn.Module) -> list[Fragment]:
        _reshard(part)
        fragments = []
        for name, p in trained(part).items():
            rows = local(p)
            if not isinstance(p, DTensor):
                raise ConfigError(f"strategy=fsdp has not sharded {name}")
            mesh = p.device_mesh
            chunk = -(-p.shape[0] // mesh.size())
            first = min(mesh.get_local_rank() * chunk, p.shape[0])
            start = first * (p.numel() // p.shape[0])
            if rows.numel():
                fragments.append(Fragment(name, p.shape, start, rows, p))
        return fragments

    def publish(self, part: nn.Module) -> None:
        _reshard(part)

    def gradient_norm(self, optimizer: Any) -> Tensor | None:
        norm = super().gradient_norm(optimizer)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


class FullySharded(InPieces, ModelParallelStrategy):
    """FSDP2 over all ranks. Blocks (members of a ModuleList) are gathered one at a time, the rest with the whole part.

    Args:
        offload: keep what a rank holds, and its optimiser's step, on the CPU.
        options: of Lightning's ModelParallelStrategy.
    """

    def __init__(self, offload: bool = False, **options: Any):
        super().__init__(**options)
        self.offload = offload
        self.shards = Rows()
        self.trained: list[Trained] = []

    def _setup_distributed(self) -> None:
        super()._setup_distributed()
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1

    def setup(self, trainer: Any) -> None:
        """Share out the parts, then make their optimisers."""
        accelerator: Any = self.accelerator
        accelerator.setup(trainer)
        stage = self.stage
        parts = parts_of(stage, "fsdp")
        stage.to(self.root_device)
        for part in parts.values():
            self._share_out(part)
        self.model = stage
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
            modules = zip(parts.items(), self.optimizers, strict=True)
            self.trained = [Trained(name, part, o, group_names(part, o)) for (name, part), o in modules]
        self.setup_precision_plugin()
        self.barrier()

    def _share_out(self, part: nn.Module) -> None:
        for tensor in [*part.parameters(), *part.buffers()]:
            torch.distributed.broadcast(tensor.detach(), 0)
        for name, p in trained(part).items():
            if p.dim() == 0:
                raise ConfigError(f"strategy=fsdp cannot share out a parameter without dimensions ({name}): use ddp")
        dtype = _DTYPES.get(str(self.precision_plugin.precision))
        frozen = {p for p in part.parameters() if not p.requires_grad}
        options: dict[str, Any] = {
            "mesh": self.device_mesh["data_parallel"],
            "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
            if dtype
            else MixedPrecisionPolicy(),
            "offload_policy": CPUOffloadPolicy(pin_memory=self.root_device.type == "cuda")
            if self.offload
            else OffloadPolicy(),
            "ignored_params": frozen,
        }
        for block in blocks(part):
            # Weights come back for the backward pass when a gradient reaches what a block gives out; where something
            # is taken from inside of it, they stay.
            fully_shard(block, reshard_after_forward=not getattr(block, "read_from_inside", False), **options)
        fully_shard(part, **options)


def _reshard(part: nn.Module) -> None:
    """Drop weights that were gathered for an earlier forward pass."""
    for module in part.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def blocks(part: nn.Module) -> list[nn.Module]:
    """The repeated modules of a network: members of its ModuleLists that train something, inner ones first."""
    left_out = frozen_modules(part)
    found = []
    for name, module in part.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name == f or name.startswith(f"{f}.") for f in left_out):
            found += [m for m in module if m is not None and not isinstance(m, nn.ModuleList) and trained(m)]
    return found[::-1]
