"""Epochs whose length changes with the number of ranks, and the samples that come twice in them."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from settings import get_logger
from trainers.run.folder import write_text

logger = get_logger(__name__)


class Epochs(L.Callback):
    """Tells Lightning how long an epoch is, and writes `logs/repeats.json`: epoch to the ids that come twice in it.

    Lightning takes the length before it gives the loader its place in the epoch, and once for all epochs; a run that
    goes on with other ranks in the middle of an epoch has another number of batches left in it, and in those to come.
    At most ranks - 1 samples come twice, in the last step, where an epoch does not divide evenly.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path):
        self.path = Path(run) / "logs" / "repeats.json"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._measure(trainer):
            fetcher: Any = trainer.fit_loop._data_fetcher
            fetcher.setup(trainer.fit_loop._combined_loader)
            iter(fetcher)
        self._list(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._measure(trainer)  # Lightning sets up the iterator after this
        self._list(trainer)

    def _measure(self, trainer: L.Trainer) -> bool:
        """Whether the epoch to come has another length than Lightning thinks; now it knows."""
        combined: Any = trainer.fit_loop._combined_loader
        lengths: list[Any] = [getattr(loader, "next_length", None) for loader in combined.flattened]
        if trainer.limit_train_batches != 1.0 or None in lengths or lengths == combined.limits:
            return False
        combined.limits = lengths
        trainer.fit_loop.max_batches = batches = max(lengths)
        if isinstance(trainer.val_check_interval, float):
            trainer.val_check_batch = max(1, int(batches * trainer.val_check_interval))
        return True

    def _list(self, trainer: L.Trainer) -> None:
        repeats = getattr(trainer.train_dataloader, "repeats", [])
        if not trainer.is_global_zero or not (repeats or self.path.exists()):
            return
        listed = json.loads(self.path.read_text()) if self.path.exists() else {}
        # A run that goes on with other ranks in the middle of an epoch repeats others.
        listed[str(trainer.current_epoch)] = repeats
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps({epoch: ids for epoch, ids in listed.items() if ids}, indent=1))
        if repeats:
            logger.debug("epoch %d: twice, to keep ranks in step: %s", trainer.current_epoch, ", ".join(repeats))
