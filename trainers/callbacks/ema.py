"""Exponential moving average of the weights."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning.pytorch as L
import torch

from trainers.engines.fragments import shards_of
from trainers.stage.base import Stage


class EMA(L.Callback):
    """Keeps an average of the network's weights; validation, samples and export use it (MMGT-9).

    average <- d average + (1 - d) weights after each optimiser step n = 1, 2, ..., with
    d = min(decay, (1 + n) / (10 + n)): without this warm-up a short run would sample from its initial weights.
    A pass over all weights takes its time, so after the first `every` steps the average moves at every `every`-th step
    only, by the decays of the steps since: d is their product, the weights between are taken to be those of the last.
    Buffers are not averaged. The average is in every checkpoint, under the network's own names. A rank averages what it
    holds of the weights, in full precision: everything with DDP, its shard with FSDP and ZeRO.

    Args:
        decay: decay after warm-up.
        every: steps from one update to the next.
    """

    state_key = "EMA"

    def __init__(self, decay: float = 0.9999, every: int = 10):
        self.decay, self.every = decay, every
        self.steps = 0
        self.averages: dict[str, torch.Tensor] = {}
        self._averages: list[torch.Tensor] = []
        self._weights: list[torch.Tensor] = []
        self._own: list[torch.Tensor] | None = None
        self._step = 0
        self._begun = False
        self._publish: Callable[[], None] = lambda: None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # After the weights are restored or initialised, before the first step.
        self._begin(trainer, cast(Stage, pl_module))
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # gradients are still being accumulated
        self._step = trainer.global_step
        self.steps += 1
        since = 1 if self.steps <= self.every else self.every
        if self.steps % since == 0:
            steps = range(self.steps - since + 1, self.steps + 1)
            decay = math.prod(min(self.decay, (1 + n) / (10 + n)) for n in steps)
            if self._averages:
                torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._begun:  # before training, or where nothing is left to train
            self._begin(trainer, cast(Stage, pl_module))
        self.swap_in()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.swap_out()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if shards_of(trainer).whole:  # else other ranks would have to help, and they may be gone
            self.swap_out()

    @property
    def swapped(self) -> bool:
        """Whether the network holds the average now."""
        return self._own is not None

    def swap_in(self) -> None:
        """Put the average into the network, the network's own weights aside. Every rank calls it."""
        if self._own is None:
            self._own = [weight.clone() for weight in self._weights]
            self._fill(self._averages)

    def swap_out(self) -> None:
        """Put the network's own weights back. Every rank calls it."""
        if self._own is not None:
            self._fill(self._own)
            self._own = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network with averaged weights, for a while."""
        self.swap_in()
        try:
            yield
        finally:
            self.swap_out()

    def copy_to(self, network: torch.nn.Module) -> None:
        """Overwrite a network's weights with the average, where this rank holds it whole."""
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in self.averages:
                    parameter.copy_(self.averages[name])

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "averages": dict(self.averages)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]
        self.averages = {name: average.clone() for name, average in state_dict.get("averages", {}).items()}

    def _begin(self, trainer: L.Trainer, stage: Stage) -> None:
        """Average what this rank holds of the network."""
        self._begun = True
        shards = shards_of(trainer)
        fragments = shards.fragments(stage.network)
        kept = self.averages
        self.averages = {
            f.name: kept[f.name].to(f.weight.device) if f.name in kept else f.weight.clone() for f in fragments
        }
        self._averages = list(self.averages.values())
        self._weights = [f.weight for f in fragments]
        self._publish = functools.partial(shards.publish, stage.network)

    def _fill(self, values: list[torch.Tensor]) -> None:
        if self._weights:
            torch._foreach_copy_(self._weights, values)
        self._publish()


@contextmanager
def own_weights(trainer: L.Trainer) -> Iterator[None]:
    """The network with its own weights for a while, also where the average is swapped in."""
    ema = next((c for c in trainer.callbacks if isinstance(c, EMA) and c.swapped), None)
    if ema is None:
        yield
        return
    ema.swap_out()
    try:
        yield
    finally:
        ema.swap_in()
