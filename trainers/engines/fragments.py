"""What a rank holds of a stage's trained weights: pieces of parameters, under the parameters' own names.

DDP holds whole parameters, FSDP rows of them, ZeRO stretches of a flat buffer. Averages (EMA) and checkpoints need to
know none of this: they see fragments.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@dataclass
class Fragment:
    """A piece of a parameter, and where its optimiser keeps what belongs to it.

    Attributes:
        name: of the parameter in its part of the stage ("inner.weight").
        shape: of the whole parameter.
        start: first element of the piece in the flattened parameter.
        weight: the piece in full precision, one-dimensional where it is not the whole parameter; writing to it changes
            the weight, on all ranks after `Shards.publish`.
        holder: the tensor that the optimiser steps; the key of its state.
        place: first element of the piece in the flattened holder.
    """

    name: str
    shape: torch.Size
    start: int
    weight: Tensor
    holder: Tensor
    place: int = 0

    @property
    def count(self) -> int:
        """Elements of the piece."""
        return self.weight.numel()

    def state(self, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimiser's state of this piece: flat tensors as long as the piece, and single values."""
        pieces, values = {}, {}
        for key, value in optimizer.state.get(self.holder, {}).items():
            if torch.is_tensor(value) and value.shape == self.holder.shape:
                pieces[key] = local(value)[self.place : self.place + self.count]
            else:
                values[key] = value
        return pieces, values

    def set_state(self, optimizer: torch.optim.Optimizer, pieces: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Give the optimiser its state of this piece."""
        state = optimizer.state[self.holder]
        for key, piece in pieces.items():
            if key not in state:
                state[key] = torch.zeros_like(self.holder.detach(), dtype=piece.dtype)
            local(state[key])[self.place : self.place + self.count].copy_(piece.view(-1))
        state.update({key: value.clone() if torch.is_tensor(value) else value for key, value in values.items()})


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, flat, sharing its memory."""
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    return tensor.view(-1)


def trained(part: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a part that are trained, by name."""
    return {name: p for name, p in part.named_parameters() if p.requires_grad}


class Shards:
    """What this rank holds: every parameter whole. Strategies that hold less say so in a subclass."""

    whole = True
    """Whether every rank holds everything."""

    norm_after_step = False
    """Whether the norm of gradients is known only when the step is done."""

    def fragments(self, part: nn.Module) -> list[Fragment]:
        """The fragments of a part's trained parameters on this rank, always in the same order."""
        return [Fragment(name, p.shape, 0, p.detach(), p) for name, p in trained(part).items()]

    def publish(self, part: nn.Module) -> None:
        """Make the network compute with what was written to `Fragment.weight`. Every rank calls it."""

    def gradient_norm(self, optimizer: Any) -> Tensor | None:
        """Norm of the gradients that an optimiser is about to use, None where there are none."""
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads, foreach=True) if grads else None


WHOLE = Shards()


def shards_of(trainer: Any) -> Shards:
    """What the ranks of a trainer hold."""
    return getattr(trainer.strategy, "shards", WHOLE)
