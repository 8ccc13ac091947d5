"""Ends a run that hangs, after every rank has said where."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from trainers.failures import record
from trainers.options import WatchdogOptions
from trainers.run.errors import RunStopped
from trainers.run.signals import ask_to_requeue

HANGS = 75
"""Exit status of a run that hung: EX_TEMPFAIL, try again."""


class Watchdog(L.Callback):
    """After `minutes` without a batch every rank writes its stacks to `logs/stacks/` and ends with status 75.

    A thread of Python looks at the clock; should it be held up with the rest, faulthandler's own thread, which needs no
    interpreter, does the same a little later (with status 1). A job of SLURM asks to be queued again.

    Args:
        run: the run folder.
        options: how long.
    """

    def __init__(self, run: Path, options: WatchdogOptions = WatchdogOptions()):
        self.run = Path(run)
        self.limit = options.minutes * 60
        self._last = self._armed = time.monotonic()
        self._stop = threading.Event()
        self._stacks: Any = None
        self._rank = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.limit:
            return
        self._rank = trainer.global_rank
        path = self.run / "logs" / "stacks" / f"rank-{self._rank:04d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stacks = open(path, "w")  # noqa: SIM115 - open as long as the run
        self._beat(again=True)
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        self._beat()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self._beat()

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self._beat()

    def on_save_checkpoint(self, trainer: L.Trainer, *args: Any) -> None:
        self._beat()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._end()

    def _beat(self, again: bool = False) -> None:
        self._last = time.monotonic()
        if self._stacks is not None and (again or self._last - self._armed > self.limit / 20):
            self._armed = self._last
            faulthandler.dump_traceback_later(self.limit * 1.5 + 30, exit=True, file=self._stacks)

    def _end(self) -> None:
        self._stop.set()
        if self._stacks is not None:
            faulthandler.cancel_dump_traceback_later()
            self._stacks.close()
            path, self._stacks = Path(self._stacks.name), None
            with contextlib.suppress(OSError):  # other ranks' may still be there
                if not path.stat().st_size:
                    path.unlink()
                    path.parent.rmdir()
                    path.parent.parent.rmdir()

    def _watch(self) -> None:
        while not self._stop.wait(min(self.limit / 10, 30)):
            if time.monotonic() - self._last > self.limit:
                self._bite()

    def _bite(self) -> None:
        faulthandler.dump_traceback(file=self._stacks, all_threads=True)
        self._stacks.flush()
        folder = Path(self._stacks.name).parent
        error = RunStopped(f"no batch for {self.limit / 60:.3g} minutes; the stacks of all ranks are in {folder}")
        record(self.run, error, HANGS)
        ask_to_requeue("hang")
        sys.stderr.write(f"stopped: rank {self._rank}: {error}\n")
        sys.stderr.flush()
        # The others are at it as well, and a launcher kills them when the first one ends.
        time.sleep(min(10.0, max(1.0, self.limit / 10)))
        os._exit(HANGS)
