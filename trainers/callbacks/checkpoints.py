"""When checkpoints are written."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Checkpoint

from settings import get_logger
from trainers.callbacks.ema import own_weights
from trainers.options import CheckpointOptions
from trainers.run.checkpoints import STEPS, newest_first, path_of, remove, step_of
from trainers.run.steps import steps_done
from trainers.tracking.loggers import MetricsCSV

logger = get_logger(__name__)


class Checkpoints(Checkpoint):
    """Writes `step-00000100.ckpt` every n optimiser steps and `best.ckpt` after the best validation; keeps the last k.

    Names count steps as all that is shown does, one a batch. A step's checkpoint is written at the end of its batch,
    before a validation that may follow, so that a validation that fails costs nothing; a run that goes on from it
    validates first. `last.ckpt` is a link to the newest. With strategies that share weights out a checkpoint is a
    folder of that name.

    Args:
        folder: where they go.
        options: how often, how many, and by which figure the best is told.
    """

    state_key = "Checkpoints"

    def __init__(self, folder: Path, options: CheckpointOptions = CheckpointOptions()):
        super().__init__()
        self.folder = folder
        self.options = options
        self.best: float | None = None
        self._saved_step = -1
        self._said = False
        self._loops_before_validation: dict[str, Any] | None = None
        self._validation_due = False
        self._next_row = self._steps = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_step = trainer.global_step  # a resumed run has this step on disk
        self._validate_if_due(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # A run that was stopped after its very last step has no train start.
        if self._saved_step < 0:
            self._validate_if_due(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        ends = 0 < trainer.max_steps <= step or (
            trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        )
        every = self.options.every_n_steps
        # A batch may make several steps.
        if ends or step // every > self._saved_step // every or steps_done(trainer) in self.options.keep_steps:
            self.save_now(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._loops_before_validation = trainer._checkpoint_connector._get_loops_state_dict()
            self._flush(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._save_best(trainer)
            self._flush(trainer)
        self._loops_before_validation = None

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._loops_before_validation is not None:
            checkpoint["loops"] = self._loops_before_validation

    def save_now(self, trainer: L.Trainer) -> Path:
        """Write the checkpoint of the step just done (once), and drop the oldest beyond those kept."""
        path = path_of(self.folder, steps_done(trainer))
        if self._saved_step == trainer.global_step:
            return path
        self._save(trainer, path)
        self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            self._link(path)
            kept = self.options.keep_last
            passing = [each for each in newest_first(self.folder) if step_of(each) not in self.options.keep_steps]
            for old in passing[kept:] if kept > 0 else []:
                remove(old)
        return path

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "of": self._figure,
            "validation_due": self._validation_due,
            "next_row": self._next_row,
            STEPS: self._steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # The best by another figure, or the other way round, is no bound for this one.
        self.best = state_dict["best"] if state_dict.get("of", self._figure) == self._figure else None
        self._validation_due = state_dict["validation_due"]

    @property
    def _figure(self) -> str:
        return f"{self.options.mode} {self.options.monitor}"

    def _validate_if_due(self, trainer: L.Trainer) -> None:
        """The validation after the step of the checkpoint that was resumed: Lightning takes it for done."""
        if self._validation_due:
            _validate(trainer)

    def _save_best(self, trainer: L.Trainer) -> None:
        monitor = self.options.monitor
        if monitor is None:
            return
        if monitor not in trainer.callback_metrics:
            if not self._said:
                logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
                logger.warning(
                    "checkpoint.monitor=%s: nothing of that name is logged, so there is no best.ckpt; logged: %s",
                    monitor, logged,
                )  # fmt: skip
            self._said = True
            return
        figure = float(trainer.callback_metrics[monitor])
        better = self.best is None or (figure < self.best if self.options.mode == "min" else figure > self.best)
        if better:
            self.best = figure
            self._save(trainer, self.folder / "best.ckpt")

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        # The rows up to a checkpoint are never computed again: they must be on disk when it is. That of this very step
        # reaches the loggers only after the hooks of the batch.
        if trainer.training and trainer._logger_connector.should_update_logs:
            row = convert_tensors_to_scalars(trainer._logger_connector.metrics["log"])
            row.setdefault("epoch", trainer.current_epoch)
            for metrics in trainer.loggers:
                if isinstance(metrics, MetricsCSV):
                    metrics.log_metrics(row, trainer.fit_loop.epoch_loop._batches_that_stepped)
        self._flush(trainer)
        loop = trainer.fit_loop
        # Not the same as the optimiser steps done, where a batch makes several.
        self._next_row = loop.epoch_loop._batches_that_stepped + 1
        self._steps = steps_done(trainer)
        fetcher = loop._data_fetcher
        self._validation_due = trainer.validating or (
            fetcher is not None and loop.epoch_loop._should_check_val_fx(fetcher)
        )
        with own_weights(trainer):
            trainer.save_checkpoint(path)

    def _flush(self, trainer: L.Trainer) -> None:
        for metrics in trainer.loggers:
            if isinstance(metrics, MetricsCSV):
                metrics.flush()

    def _link(self, path: Path) -> None:
        link, temporary = self.folder / "last.ckpt", self.folder / ".last.ckpt.writing"
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(path.name)
            temporary.replace(link)
        except OSError as error:
            logger.debug("no link to the newest checkpoint on this file system: %s", error)


def _validate(trainer: L.Trainer) -> None:
    """A validation between two batches, as Lightning's training loop does it."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    first_iteration = trainer._logger_connector._first_loop_iter
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True
    trainer._logger_connector._first_loop_iter = first_iteration
