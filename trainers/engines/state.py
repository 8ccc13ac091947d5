"""The state of a training, taken apart into pieces and put together again, whatever the engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainers.engines.fragments import Shards, trained
from trainers.engines.pieces import Reader, is_in_pieces, key_of, load
from trainers.run.errors import CheckpointError

# Of an optimiser's groups: how it computes, which is the strategy's affair and not the checkpoint's.
_OWN = ("params", "foreach", "fused", "capturable", "differentiable")


@dataclass
class Trained:
    """A part of a stage and the optimiser that trains it.

    Attributes:
        name: of the part in the stage ("network").
        module: the part.
        optimizer: torch's own, inside whatever an engine puts around it.
        groups: names of the parameters in each of its groups.
    """

    name: str
    module: nn.Module
    optimizer: torch.optim.Optimizer
    groups: list[list[str]]


class StateSource(Protocol):
    """A checkpoint to be read piece by piece."""

    def state(self) -> dict[str, Any]:
        """What Lightning keeps."""

    def kinds(self, prefix: str = "") -> list[str]:
        """Kinds of pieces that are there."""

    def names(self, kind: str) -> list[str]:
        """Names that have pieces of a kind."""

    def take(self, kind: str, name: str, start: int = 0, count: int | None = None) -> Tensor | None:
        """A piece of a flattened tensor, None where there is none."""


class SingleFile:
    """A checkpoint in one file, as one device and DDP write it, read like one in pieces."""

    def __init__(self, checkpoint: dict[str, Any]):
        weights = checkpoint.pop("state_dict")
        optimizers = checkpoint.pop("optimizer_states")
        names = checkpoint.get("parameters")
        if names is None:
            raise CheckpointError(
                "the checkpoint does not name the parameters of its optimisers (an earlier version wrote it): go on "
                "with strategy=auto or ddp, or start from its weights alone with init_from="
            )
        averages = checkpoint.get("callbacks", {}).get("EMA", {}).pop("averages", {})
        self._state = checkpoint
        self._tensors: dict[str, dict[str, Tensor]] = {"weight": weights, "buffer": weights}
        if averages:
            self._tensors["average"] = {f"network.{name}": average for name, average in averages.items()}
        groups = []
        for number, saved in enumerate(optimizers):
            for identity, values in saved["state"].items():
                name = names[number][identity]
                for key, value in values.items():
                    like = torch.is_tensor(value) and name in weights and value.shape == weights[name].shape
                    kind = f"optimizer.{number}.{key}" if like else value_kind(number, key, value)
                    self._tensors.setdefault(kind, {})[name] = torch.as_tensor(value)
            groups.append(
                [{**group, "params": [names[number][i] for i in group["params"]]} for group in saved["param_groups"]]
            )
        checkpoint["optimizer_groups"] = groups

    def state(self) -> dict[str, Any]:
        return self._state

    def kinds(self, prefix: str = "") -> list[str]:
        return [kind for kind in self._tensors if kind.startswith(prefix)]

    def names(self, kind: str) -> list[str]:
        return list(self._tensors.get(kind, {}))

    def take(self, kind: str, name: str, start: int = 0, count: int | None = None) -> Tensor | None:
        tensor = self._tensors.get(kind, {}).get(name)
        if tensor is None or kind == "buffer":
            return tensor
        flat = tensor.reshape(-1)
        return flat[start:] if count is None else flat[start : start + count]


def open_source(path: str | Path) -> StateSource:
    """Open a checkpoint of either form. Raises CheckpointError when it cannot be read."""
    return Reader(path) if is_in_pieces(path) else SingleFile(load(Path(path)))


def take_apart(parts: list[Trained], shards: Shards, averages: Mapping[str, Tensor]) -> dict[str, Any]:
    """What this rank holds of a training, by `key_of`.

    Args:
        parts: what is trained.
        shards: what this rank holds of it.
        averages: this rank's averages of the part "network", by name (EMA).
    """
    pieces: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        for fragment in shards.fragments(part.module):
            name, start = f"{part.name}.{fragment.name}", fragment.start
            pieces[key_of("weight", name, start)] = fragment.weight.view(-1)
            tensors, values = fragment.state(part.optimizer)
            for key, tensor in tensors.items():
                pieces[key_of(f"optimizer.{number}.{key}", name, start)] = tensor
            for key, value in values.items():
                pieces[key_of(value_kind(number, key, value), name, start)] = torch.as_tensor(value)
            if part.name == "network" and fragment.name in averages:
                pieces[key_of("average", name, start)] = averages[fragment.name].view(-1)
    return pieces


def put_together(stage: nn.Module, parts: list[Trained], shards: Shards, source: StateSource) -> dict[str, Tensor]:
    """Give a stage and its optimisers the state of a checkpoint; returns this rank's averages (EMA) by name.

    Raises:
        CheckpointError: the checkpoint is of another network or of other optimisers.
    """
    groups = source.state()["optimizer_groups"]
    if len(groups) != len(parts):
        raise CheckpointError(
            f"the checkpoint has {len(groups)} optimisers, this stage {len(parts)}; start from its weights alone with "
            "init_from="
        )
    averages = {}
    for number, part in enumerate(parts):
        for fragment in shards.fragments(part.module):
            name, place = f"{part.name}.{fragment.name}", (fragment.start, fragment.count)
            weight = source.take("weight", name, *place)
            if weight is None or weight.numel() != fragment.count:
                raise CheckpointError(
                    f"the checkpoint has no weight {name} {tuple(fragment.shape)}: it is of another network"
                )
            fragment.weight.view(-1).copy_(weight)
            tensors, values = {}, {}
            for kind in source.kinds(f"optimizer.{number}."):
                tensor = source.take(kind, name, *place)
                if tensor is not None:
                    tensors[kind.split(".", 2)[2]] = tensor
            for kind in source.kinds(f"value.{number}."):
                value = source.take(kind, name, 0, 1)
                if value is not None:
                    key, value = value_of(kind, value)
                    values[key] = value
            fragment.set_state(part.optimizer, tensors, values)
            average = source.take("average", name, *place) if part.name == "network" else None
            if average is not None:
                averages[fragment.name] = average.view_as(fragment.weight)
        shards.publish(part.module)
        for own, saved in zip(part.optimizer.param_groups, groups[number], strict=True):
            own.update({key: value for key, value in saved.items() if key not in _OWN})
    for name, own in buffers(stage).items():
        saved = source.take("buffer", name)
        if saved is not None:
            own.copy_(saved)
    return averages


def group_options(parts: list[Trained]) -> list[list[dict[str, Any]]]:
    """Options of every optimiser's groups, with the names of their parameters as `params`."""
    return [
        [
            {**{k: v for k, v in group.items() if k not in _OWN}, "params": [f"{part.name}.{name}" for name in names]}
            for group, names in zip(part.optimizer.param_groups, part.groups, strict=True)
        ]
        for part in parts
    ]


def group_names(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """Names of the parameters in each group of an optimiser, before an engine changes them."""
    names = {id(p): name for name, p in trained(module).items()}
    return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


def buffers(stage: nn.Module) -> dict[str, Tensor]:
    """What of a stage's state is no parameter."""
    parameters = {name for name, _ in stage.named_parameters(remove_duplicate=False)}
    return {
        name: t for name, t in stage.state_dict(keep_vars=True).items() if name not in parameters and torch.is_tensor(t)
    }


def assemble(path: str | Path) -> dict[str, Any]:
    """A checkpoint in pieces as the one dictionary that one device and DDP write and read.

    Raises:
        CheckpointError: it cannot be read.
    """
    reader = Reader(path)
    checkpoint = reader.state()

    def whole(kind: str, name: str) -> Tensor:
        taken = reader.take(kind, name)
        return taken if kind == "buffer" else taken.view(reader.shapes[name])  # type: ignore[union-attr, return-value]

    weights = {name: whole("weight", name) for name in reader.names("weight")}
    weights |= {name: whole("buffer", name) for name in reader.names("buffer")}
    states, order = [], []
    for number, groups in enumerate(checkpoint.pop("optimizer_groups")):
        names = [name for group in groups for name in group["params"]]
        identity = {name: i for i, name in enumerate(names)}
        state: dict[int, dict[str, Any]] = {i: {} for i in range(len(names))}
        for kind in reader.kinds(f"optimizer.{number}."):
            for name in reader.names(kind):
                state[identity[name]][kind.split(".", 2)[2]] = whole(kind, name)
        for kind in reader.kinds(f"value.{number}."):
            for name in reader.names(kind):
                key, value = value_of(kind, reader.take(kind, name, 0, 1))  # type: ignore[arg-type]
                state[identity[name]][key] = value
        numbered = [{**group, "params": [identity[name] for name in group["params"]]} for group in groups]
        states.append({"state": {i: s for i, s in state.items() if s}, "param_groups": numbered})
        order.append(names)
    averages = {name.removeprefix("network."): whole("average", name) for name in reader.names("average")}
    if averages:
        checkpoint["callbacks"]["EMA"]["averages"] = averages
    return checkpoint | {"state_dict": weights, "optimizer_states": states, "parameters": order}


def value_kind(number: int, key: str, value: Any) -> str:
    """Kind of a single value of an optimiser's state; tells a number of Python from a tensor."""
    return f"value.{number}.{key}" + ("" if torch.is_tensor(value) else f":{type(value).__name__}")


def value_of(kind: str, saved: Tensor) -> tuple[str, Any]:
    """Key and value from a kind and what was saved."""
    key, _, of = kind.split(".", 2)[2].partition(":")
    return key, saved.reshape(()) if not of else {"int": int, "float": float, "bool": bool}[of](saved)
