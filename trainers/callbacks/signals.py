"""Stops a run that was asked to stop, after saving."""

import functools
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch

from trainers.callbacks.checkpoints import Checkpoints
from trainers.run.errors import Interrupted
from trainers.run.signals import PatientWorker, listen, listening, received


class Signals(L.Callback):
    """Ends the run at the end of the batch in which any rank was sent SIGINT, SIGTERM or SIGUSR1: saves, Interrupted.

    Ranks agree on it after every batch, on accelerators after every tenth, since it takes a wait for the device.

    In a validation it does not wait for the end: the state of the last training batch is saved.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        data = trainer.datamodule
        if listening() and data is not None:
            for name in ("train_dataloader", "val_dataloader"):
                setattr(data, name, _patient(getattr(data, name)))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning has put in a SIGTERM handler of its own, which ends the run without saving.
        if listening():
            listen()
        number = self._asked(trainer)
        if number:
            raise Interrupted(number, "stopped before the first step; nothing to save")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.fit_loop._should_accumulate() and self._due(trainer, batch_idx):
            self._leave(trainer, self._asked(trainer))

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        batch_idx = kwargs.get("batch_idx", args[3] if len(args) > 3 else 0)
        if not trainer.sanity_checking and self._due(trainer, batch_idx):
            self._leave(trainer, self._asked(trainer))

    @staticmethod
    def _due(trainer: L.Trainer, batch: int) -> bool:
        return trainer.world_size == 1 or trainer.strategy.root_device.type == "cpu" or batch % 10 == 9

    def _leave(self, trainer: L.Trainer, number: int) -> None:
        if not number:
            return
        checkpoints = next(callback for callback in trainer.callbacks if isinstance(callback, Checkpoints))
        path = checkpoints.save_now(trainer)
        raise Interrupted(number, f"saved {path}; start again with the same run= to go on")

    def _asked(self, trainer: L.Trainer) -> int:
        """Number of the signal, agreed between ranks: those who got none must save as well."""
        if trainer.world_size == 1:
            return received()
        numbers = torch.tensor(received(), device=trainer.strategy.root_device)
        torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
        return int(numbers)


def _patient(make: Callable[[], Any]) -> Callable[[], Any]:
    """Loaders whose workers outlive a signal to the process group."""

    @functools.wraps(make)
    def make_patient() -> Any:
        loaders = make()
        for loader in loaders if isinstance(loaders, list) else [loaders]:
            loader.worker_init_fn = PatientWorker(loader.worker_init_fn)
        return loaders

    return make_patient
