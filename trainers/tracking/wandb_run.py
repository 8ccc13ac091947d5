"""The W&B run of a run folder: one run, whatever number of processes it takes to train it."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from google.protobuf.message import DecodeError
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

from trainers.options import WandbOptions
from trainers.run.folder import RunFolder, write_text
from trainers.run.signals import received
from trainers.tracking.metrics_csv import read_metrics

AXIS = "trainer/global_step"
"""The x axis of every figure: the step of metrics.csv. W&B's own `_step` counts rows and must never go back."""


@dataclass
class Logged:
    """What a W&B run holds already.

    Attributes:
        row: W&B's number (`_step`) of its last row, -1 when there is none.
        whole: every figure of this step and those before is there.
        steps: the last step that is there, by figure.
    """

    row: int = -1
    whole: int = -1
    steps: dict[str, int] = field(default_factory=dict)

    def holds(self, name: str, step: int) -> bool:
        """Whether the figure of that step is there."""
        return step <= max(self.whole, self.steps.get(name, -1))

    @classmethod
    def on_disk(cls, folder: Path, run_id: str) -> "Logged":
        """Read it from the files that earlier processes left under `folder`, and mend those that a kill cut short."""
        logged = cls()
        for file in sorted(folder.glob(f"*run-*/run-{run_id}.wandb")):
            mend(file)
            for row in history(file) if file.exists() else ():
                logged.row = max(logged.row, int(row.get("_step", -1)))
                for name in row.keys() - {AXIS} if AXIS in row else ():
                    logged.steps[name] = max(logged.steps.get(name, -1), int(row[AXIS]))
        return logged

    def agree_with_server(self, row: int, step: int) -> None:
        """Take over what the server says: its last row and that row's step.

        A row is sent when the next one begins: those before the last are whole, the last may lack the validation. What
        is on disk and beyond the server's last step never arrived.
        """
        self.row = max(self.row, row)
        self.whole = step - 1
        self.steps = {name: min(last, step) for name, last in self.steps.items()}


class WandbRun(WandbLogger):
    """Lightning's W&B logger for a run that may be killed and go on any number of times.

    W&B takes no row back, drops a row whose number is smaller than the last, and loses what it held in memory when its
    process is killed: some dozens of rows. So rows are numbered on where the last process ended, figures that W&B has
    already are left out when their steps are computed again, and rows of metrics.csv that it lost are logged again.

    Args:
        folder: the run folder; it keeps the id of the W&B run.
        options: mode, project, name and tags.
        config: the config, as W&B shows it.
        from_step: step at which training starts or goes on; metrics.csv holds the rows before it.
    """

    def __init__(self, folder: RunFolder, options: WandbOptions, config: Mapping[str, Any], from_step: int):
        self._folder, self._from_step = folder, from_step
        self._open, self._step, self._row = False, -1, -1
        run_id = _identity(folder)
        # Before W&B makes this process's file.
        self._logged = (
            Logged.on_disk(folder.path / "wandb", run_id) if run_id and rank_zero_only.rank == 0 else Logged()
        )
        super().__init__(
            name=options.name or folder.path.name,
            project=options.project,
            save_dir=str(folder.path),
            id=run_id,
            # Offline there is nobody to ask what the run holds.
            resume="allow" if options.mode == "online" else None,
            mode=options.mode,
            tags=list(options.tags),
            config=dict(config),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._wandb_init.pop("anonymous", None)  # W&B warns of it

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the figures of a step that the run does not hold yet; those of one step become one row."""
        if not self._open:
            self._go_on()
        self._write(metrics, step or 0)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the process's part of the run, so that nothing waits in memory; a scheduler's stop is told as such."""
        super().finalize(status)
        run, self._experiment, self._open = self._experiment, None, False
        if run is None:
            return
        if status == "success":
            run.finish()
            return
        if received() and received() != signal.SIGINT:
            run.mark_preempting()
        run.finish(exit_code=128 + received() if received() else 1)

    def _go_on(self) -> None:
        """Start the run or go on with it: find out what it holds, and log what it lacks of the rows of metrics.csv."""
        run: Any = self.experiment
        if run.resumed:
            last = run.starting_step - 1
            self._logged.agree_with_server(last, int(run.summary.get(AXIS, last)))
        self._open, self._step, self._row = True, -1, self._logged.row
        for row in read_metrics(self._folder.metrics):
            step = int(row.pop("step"))
            if step < self._from_step:
                self._write(row, step)

    def _write(self, metrics: Mapping[str, Any], step: int) -> None:
        new = {name: value for name, value in metrics.items() if not self._logged.holds(name, step)}
        if not new:
            return
        if step != self._step:
            self._step, self._row = step, max(step, self._row + 1)
        self.experiment.log({**new, AXIS: step}, step=self._row)
        self._logged.row = self._row
        self._logged.steps.update(dict.fromkeys(new, step))


def history(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a `.wandb` file, figures as W&B keeps them."""
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}


def records(file: Path) -> Iterator[Any]:
    """All that a `.wandb` file holds; of a file that was cut short, what comes before the cut."""
    store = DataStore()
    try:
        store.open_for_scan(str(file))
        while (data := store.scan_data()) is not None:
            yield wandb_internal_pb2.Record.FromString(data)
    except (AssertionError, DecodeError):
        return
    finally:
        store.close()


def mend(file: Path) -> None:
    """Make a `.wandb` file that a kill cut short one that `wandb beta sync` takes, which stops at half a record.

    The half record at its end is cut off; a file without any whole record goes.
    """
    store, end, count = DataStore(), 0, 0
    try:
        store.open_for_scan(str(file))
        while store.scan_data() is not None:
            end, count = store.get_offset(), count + 1
    except AssertionError:
        pass
    finally:
        store.close()
    if not count:
        file.unlink()
    elif end < file.stat().st_size:
        os.truncate(file, end)


def _identity(folder: RunFolder) -> str | None:
    """The id of the folder's W&B run, made by the first rank of its first process. A sweep's agent gives its own."""
    file = folder.path / "wandb" / "run_id.txt"
    if rank_zero_only.rank == 0 and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, os.environ.get("WANDB_RUN_ID") or wandb.util.generate_id())
    return file.read_text().strip() if file.exists() else None
