"""What the strategies share: checkpoints in pieces, errors that all ranks learn of, children that do not linger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from torch import nn

from settings import ConfigError
from trainers.engines.fragments import Shards, trained
from trainers.engines.launcher import Launcher
from trainers.engines.pieces import Writer
from trainers.engines.state import (
    Trained,
    buffers,
    group_options,
    key_of,
    open_source,
    put_together,
    take_apart,
)
from trainers.run.errors import CheckpointError


class SharesErrors(ParallelStrategy):
    """A strategy whose ranks tell one another of errors where others would wait for them."""

    @property
    def stage(self) -> Any:
        """The stage that is trained."""
        return self.lightning_module

    def _configure_launcher(self) -> None:
        environment: Any = self.cluster_environment
        if not environment.creates_processes_externally:
            self._launcher = Launcher(environment, self.num_processes, self.num_nodes)

    def gather_objects(self, value: Any) -> list[Any]:
        """The values of all ranks."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return [value]
        values: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(values, value)
        return values


class Replicated(SharesErrors, DDPStrategy):
    """DDP: a whole copy on every rank; checkpoints in one file, written by the first rank."""

    shards = Shards()

    def setup(self, trainer: Any) -> None:
        if not self.stage.automatic_optimization:
            # A step of one optimiser leaves the parameters of the others without gradients.
            self._ddp_kwargs["find_unused_parameters"] = True
        super().setup(trainer)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        message = None
        try:
            super().save_checkpoint(checkpoint, filepath, storage_options)
        except CheckpointError as error:
            message = str(error)
        errors = [each for each in self.gather_objects(message) if each]
        if errors:
            raise CheckpointError(errors[0])

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return super().load_checkpoint(self.broadcast(checkpoint_path), weights_only)


class InPieces(SharesErrors):
    """Saves and loads checkpoints in pieces. A subclass says what its ranks hold and sets `trained`."""

    shards: Shards
    trained: list[Trained]

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    @property
    def lightning_restore_optimizer(self) -> bool:
        return False

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {}  # goes into pieces

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        return {}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Done by `load_checkpoint`."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Done by `load_checkpoint`."""

    def engine_state(self) -> dict[str, Any]:
        """What an engine keeps beside weights and optimisers."""
        return {}

    def load_engine_state(self, state: dict[str, Any]) -> None:
        """Take back what `engine_state` gave; another engine's keys may be there instead."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write what this rank holds; every rank calls it. Raises CheckpointError on all ranks when one cannot."""
        from trainers.run.checkpoints import cannot_write

        path = Path(self.broadcast(filepath))
        stage = self.stage
        averages = checkpoint.get("callbacks", {}).get("EMA", {}).pop("averages", {})
        pieces = take_apart(self.trained, self.shards, averages)
        if self.global_rank == 0:
            pieces |= {key_of("buffer", name, 0): buffer for name, buffer in buffers(stage).items()}
        state = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
        state |= {"optimizer_groups": group_options(self.trained), "engine": self.engine_state()}
        shapes = {
            f"{part.name}.{name}": list(_shape(p)) for part in self.trained for name, p in trained(part.module).items()
        }
        about = {"step": checkpoint.get("global_step"), "strategy": type(self).__name__, "shapes": shapes}
        try:
            Writer(path, self.global_rank, self.world_size, self.gather_objects).write(pieces, state, about)
        except CheckpointError as error:
            raise cannot_write(path, error) from None

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read what this rank holds, whatever wrote it. Raises CheckpointError when it does not fit."""
        source = open_source(self.broadcast(checkpoint_path))
        stage = self.stage
        averages = put_together(stage, self.trained, self.shards, source)
        state = source.state()
        self.load_engine_state(state.get("engine", {}))
        if "EMA" in state.get("callbacks", {}):
            state["callbacks"]["EMA"]["averages"] = averages
        return state


def parts_of(stage: Any, strategy: str) -> dict[str, nn.Module]:
    """The parts of a stage that are trained. Raises ConfigError where they leave out something that is trained."""
    parts = stage.parts()
    held = {id(p) for part in parts.values() for p in part.parameters()}
    outside = [name for name, p in stage.named_parameters() if p.requires_grad and id(p) not in held]
    if outside:
        raise ConfigError(
            f"strategy={strategy} shares out the parts of a stage, and {type(stage).__name__} trains something "
            f"outside of them ({', '.join(outside[:3])}): name it in parts(), or use strategy=ddp"
        )
    return parts


def frozen_modules(part: nn.Module) -> dict[str, nn.Module]:
    """The largest modules inside a part of which nothing is trained, by name."""
    found: dict[str, nn.Module] = {}
    for name, module in part.named_modules():
        inside = any(name.startswith(f"{other}.") for other in found)
        parameters = list(module.parameters())
        if name and not inside and parameters and not any(p.requires_grad for p in parameters):
            found[name] = module
    return found


def _shape(parameter: nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)
