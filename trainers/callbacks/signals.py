"""Stops a run that was asked to stop, after saving."""

import functools
import signal
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L

from trainers.callbacks.checkpoints import Checkpoints
from trainers.errors import Interrupted
from trainers.signals import PatientWorker, listen, listening, received


class Signals(L.Callback):
    """Ends the run at the end of the batch in which any rank received SIGINT or SIGTERM: saves, raises Interrupted.

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
        if self._asked(trainer):
            raise Interrupted(received() or signal.SIGTERM, "stopped before the first step; nothing to save")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.fit_loop._should_accumulate() and self._asked(trainer):
            self._leave(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.sanity_checking and self._asked(trainer):
            self._leave(trainer)

    def _leave(self, trainer: L.Trainer) -> None:
        checkpoints = next(callback for callback in trainer.callbacks if isinstance(callback, Checkpoints))
        path = checkpoints.save_now(trainer)
        raise Interrupted(received() or signal.SIGTERM, f"saved {path}; start again with the same run= to go on")

    def _asked(self, trainer: L.Trainer) -> bool:
        """Agreed between ranks: those who got no signal must save as well."""
        if trainer.world_size == 1:
            return bool(received())
        return trainer.strategy.reduce_boolean_decision(bool(received()), all=False)


def _patient(make: Callable[[], Any]) -> Callable[[], Any]:
    """Loaders whose workers outlive a signal to the process group."""

    @functools.wraps(make)
    def made() -> Any:
        loaders = make()
        for loader in loaders if isinstance(loaders, list) else [loaders]:
            loader.worker_init_fn = PatientWorker(loader.worker_init_fn)
        return loaders

    return made
