"""Where a run's figures go: metrics.csv and TensorBoard always, Weights & Biases when asked for."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from settings import ConfigError, get_logger
from trainers.options import WandbOptions
from trainers.run.folder import RunFolder
from trainers.tracking.metrics_csv import read_metrics, read_rows

logger = get_logger(__name__)


class MetricsCSV(Logger):
    """`metrics.csv`: one row a step, full precision; a resumed run drops the rows that it computes again.

    Lightning's own CSVLogger deletes the file of the run it continues. A float is written as the shortest text that
    reads back to the same bits.

    Args:
        path: the file.
        flush_every: rows held back at most; they are written at every checkpoint and at the end as well.
    """

    def __init__(self, path: str | Path, flush_every: int = 100):
        super().__init__()
        self.path = Path(path)
        self.flush_every = flush_every
        self._columns: list[str] = []
        self._rows: dict[int, dict[str, Any]] = {}
        self._tail: dict[str, Any] = {}
        self._tail_start = self._size = 0

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def start(self, from_step: int) -> None:
        """Keep an earlier run's rows of the steps before `from_step`, drop the others (one may be half written).

        A file with damaged rows is kept beside the new one, as `metrics.csv.damaged`.
        """
        if self.path.exists():
            rows, damaged = read_rows(self.path)
            if damaged:
                os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged"))
            self._rewrite([row for row in rows if row["step"] < from_step])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = step or 0
        self._rows.setdefault(step, {"step": step}).update(metrics)
        if len(self._rows) > self.flush_every:
            self.flush(keep=step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is in config.yaml."""

    @rank_zero_only
    def flush(self, keep: int | None = None) -> None:
        """Write the rows held back, without that of step `keep`, to which more may come."""
        rows = [row for step, row in self._rows.items() if step != keep]
        self._rows = {keep: self._rows[keep]} if keep in self._rows else {}
        if not rows:
            return
        if rows[0]["step"] == self._tail.get("step"):
            # Figures of one step may come in two flushes (a validation after a checkpoint): one row all the same.
            # The epoch is that of the step, also where a resumed run validates at the start of the next one.
            rows[0] = self._tail | rows[0] | {k: v for k, v in self._tail.items() if k == "epoch"}
        else:
            self._tail_start = self._size
        if not self.path.exists() or any(name not in self._columns for row in rows for name in row):
            earlier = {row["step"]: row for row in read_metrics(self.path)}
            self._rewrite(list((earlier | {row["step"]: row for row in rows}).values()))
        else:
            self._append(rows)

    def finalize(self, status: str) -> None:
        self.flush()

    def _append(self, rows: list[dict[str, Any]]) -> None:
        """Write rows from where the last one began, if it is among them, else at the end."""
        lines = [self._text([row]) for row in rows]
        with open(self.path, "r+b") as file:
            file.seek(self._tail_start)
            file.write("".join(lines).encode())
            file.truncate()
            self._size = file.tell()
        self._tail, self._tail_start = rows[-1], self._size - len(lines[-1].encode())

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        header = ",".join(self._columns) + "\n" if self._columns else ""
        text = (header + self._text(rows)).encode()
        temporary = self.path.with_name(f".{self.path.name}.writing")
        temporary.write_bytes(text)
        os.replace(temporary, self.path)
        self._size = len(text)
        self._tail = rows[-1] if rows else {}
        self._tail_start = self._size - len(self._text(rows[-1:]).encode())

    def _text(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


def check_wandb(options: WandbOptions) -> None:
    """What W&B would refuse, said before the run folder is made.

    Raises:
        ConfigError: a name that W&B does not take, or online without an account on this machine.
    """
    if options.mode == "off":
        return
    foreign = [sign for sign in "/\\#?%:" if sign in options.project]
    if foreign or not 1 <= len(options.project) <= 128:
        why = f"{' '.join(foreign)} may not be in it" if foreign else "it has 1 to 128 letters"
        raise ConfigError(f"wandb.project={options.project}: no name of a W&B project: {why}")
    for tag in options.tags:
        if not 1 <= len(tag) <= 64:
            raise ConfigError(f"wandb.tags: a tag has 1 to 64 letters, got {len(tag)} in '{tag[:40]}'")
    if options.name is not None and not 1 <= len(options.name) <= 128:
        raise ConfigError(f"wandb.name: a run's name has 1 to 128 letters, got {len(options.name)}")
    if options.mode == "online":
        import wandb

        if not (os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
            raise ConfigError(
                "wandb.mode=online needs an account: run `wandb login` once or set WANDB_API_KEY, or use "
                "wandb.mode=offline"
            )


def loggers(folder: RunFolder, options: WandbOptions, config: Mapping[str, Any], from_step: int) -> list[Logger]:
    """The loggers of a run that starts or goes on at `from_step`; metrics.csv is the first."""
    metrics = MetricsCSV(folder.metrics)
    metrics.start(from_step)
    tensorboard = TensorBoardLogger(
        save_dir=folder.path, name="tensorboard", version="", default_hp_metric=False, purge_step=from_step or None
    )
    output: list[Logger] = [metrics, tensorboard]
    if options.mode != "off":
        output.append(_wandb(folder, options, config, from_step))
    return output


def _wandb(folder: RunFolder, options: WandbOptions, config: Mapping[str, Any], from_step: int) -> Logger:
    # A run has a W&B service of its own: one that the process that started this one shares with it may still hold the
    # run of a training that was killed, and refuses it ("run ID ... is in use").
    os.environ.pop("WANDB_SERVICE", None)
    # Imported when asked for: most runs do without.
    from trainers.tracking.wandb_run import WandbRun

    return WandbRun(folder, options, config, from_step)
