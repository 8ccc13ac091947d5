"""The run folder: where everything of a run is written, and nothing outside it."""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from cospeech import __version__
from settings import ConfigError, get_logger
from settings.locks import alone, holder
from trainers.failures import forget_earlier
from trainers.launching.snapshot import STATE_FILE, state
from trainers.tracking.metrics_csv import read_metrics

logger = get_logger(__name__)

_PACKAGES = (
    "torch", "lightning", "numpy", "safetensors", "huggingface_hub", "torchdata", "webdataset",
    "wandb", "tensorboard", "omegaconf", "pydantic",
)  # fmt: skip

# Other ranks are started by the first one and must write where it writes.
_RUN_VARIABLE = "COSPEECH_RUN_FOLDER"
_current: "RunFolder | None" = None

LOCK = ".lock"
"""File in a run folder that a training holds a lock on."""

LOGS = "logs"
"""Folder in a run folder for what ranks and jobs say."""


class RunFolder:
    """Names of the parts of a run folder.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.txt"
        self.checkpoints = self.path / "checkpoints"
        self.export = self.path / "export"
        self.samples = self.path / "samples"
        self.animations = self.path / "animations"
        self.metrics = self.path / "metrics.csv"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.evaluation = self.path / "evaluation"
        self.logs = self.path / "logs"
        self.lock = self.path / LOCK

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


def choose(run: str | Path | None, stage: str) -> RunFolder:
    """The folder of a run: the given one, or `runs/<stage>/<date-time>`; the same on every rank.

    A job of SLURM that names none gets `runs/<stage>/job-<id>`, which it finds again when it is queued again.

    Raises:
        ConfigError: another launcher started this rank, and no folder is given that all ranks could know.
    """
    global _current
    inherited = os.environ.get(_RUN_VARIABLE)
    job = os.environ.get("SLURM_JOB_ID") if int(os.environ.get("SLURM_NTASKS", 1)) > 1 else None
    if inherited and "LOCAL_RANK" in os.environ:
        run = inherited
    elif run is None and job:
        run = Path("runs") / stage / f"job-{job}"
    elif run is None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("run=: ranks that are started from outside have to be given the run folder; add run=FOLDER")
    _current = RunFolder(run or Path("runs") / stage / time.strftime("%Y-%m-%d_%H-%M-%S"))
    return _current


def current() -> RunFolder | None:
    """The run folder of this process, once it is chosen."""
    return _current


def is_first_rank() -> bool:
    """Whether this process is the one that writes, before Lightning can say so."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


@contextmanager
def hold(folder: RunFolder) -> Iterator[None]:
    """Be the only training in a run folder for a while; a folder in which nothing was written is removed again.

    The lock ends with the process, on whatever machine: a job that is queued again finds it free.

    Raises:
        ConfigError: another training runs there, or the folder cannot be made or written to.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise ConfigError(f"run={folder}: it is a file, not a folder")
    output = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with alone(folder.lock) as got:
            if not got:
                raise ConfigError(
                    f"run={folder}: another training runs in this folder ({holder(folder.lock)}); wait for it, or "
                    "choose another run="
                )
            try:
                yield
            finally:
                folder.lock.unlink(missing_ok=True)
    except OSError as error:
        if error.filename not in (str(folder.lock), *map(str, output), str(folder.path)):
            raise
        raise ConfigError(f"run={folder}: cannot be written to ({error.strerror}); choose another folder") from None
    finally:
        for path in output:
            with suppress(OSError):
                path.rmdir()


def _look_for_lost_checkpoints(folder: RunFolder, before: Mapping[str, Any]) -> None:
    """Refuse to begin a run anew over one that got somewhere; say it where that one broke off before a checkpoint."""
    rows = read_metrics(folder.metrics)
    last = rows[-1]["step"] + 1 if rows else 0
    every = before.get("checkpoint", {}).get("every_n_steps", 1)
    if folder.export.exists() or last > max(every, 1):
        what = "an export" if folder.export.exists() else f"figures of {last} steps"
        raise ConfigError(
            f"run={folder}: the folder holds {what} of a run, but no checkpoint to go on from, and would be written "
            f"over from step 1; choose another run= (init_from={folder} takes the exported weights), or remove the "
            "folder"
        )
    if last:
        logger.warning("run=%s: stopped at step %d before its first checkpoint; it begins anew at step 1", folder, last)


def open_run(
    folder: RunFolder, values: Mapping[str, Any], resume: str, changed: Sequence[str] = (), anew: bool = False
) -> None:
    """Take a folder for a run: check that it may be written to, then write its config and environment.

    Args:
        folder: the run folder.
        values: the config.
        resume: as the config says.
        changed: what of the config changed since the run was started, and is used.
        anew: there is no checkpoint to go on from.

    Raises:
        ConfigError: the folder holds something else, another stage's run, or a run that may not be continued.
    """
    import yaml

    before = read_config(folder)
    if folder.path.exists() and not folder.path.is_dir():
        raise ConfigError(f"run={folder}: it is a file, not a folder")
    # A job writes its log before the run begins.
    if folder.path.is_dir() and any(path.name not in (LOGS, LOCK) for path in folder.path.iterdir()):
        if before is None:
            raise ConfigError(
                f"run={folder}: the folder holds something else than a run (no config.yaml); choose another"
            )
        if resume == "none":
            raise ConfigError(
                f"run={folder}: the folder holds a run already; choose another, or resume=auto to continue it"
            )
        if _stage_name(before) != _stage_name(values):
            raise ConfigError(
                f"run={folder}: the folder holds a run of stage {_stage_name(before)}, not {_stage_name(values)}"
            )
        if anew:
            _look_for_lost_checkpoints(folder, before)
    for part in (folder.checkpoints, folder.samples):
        part.mkdir(parents=True, exist_ok=True)
    forget_earlier(folder)
    os.environ[_RUN_VARIABLE] = str(folder.path.resolve())
    started = f"started {time.strftime('%Y-%m-%d %H:%M:%S')}"
    if before is not None:
        started += "".join(f"\n  changed {line}" for line in changed)
    write_text(folder.config, yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))
    earlier = folder.environment.read_text() + "\n" if folder.environment.exists() else ""
    write_text(folder.environment, earlier + started + "\n" + environment())


def environment() -> str:
    """Versions, code state and hardware of this process, as text."""
    import torch

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines = {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "system": platform.platform(),
        "code": _code(),
        "cpu": f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads",
        "gpu": ", ".join(gpus) or "none",
        "cuda": str(torch.version.cuda),
        **versions,
        "torch": torch.__version__,  # with its build, which the package's metadata may leave out
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, then put it in the place of `path`; on an error `path` stays as it was."""
    temporary, old = path.with_name(f".{path.name}.writing"), path.with_name(f".{path.name}.old")
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def read_config(folder: RunFolder) -> dict[str, Any] | None:
    """The run's config as it was resolved, None where there is none. Raises ConfigError for a damaged file."""
    import yaml

    if not folder.config.is_file():
        return None
    try:
        return yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{folder.config}: cannot be read ({error})") from None


def _stage_name(values: Mapping[str, Any]) -> str:
    stage = values["stage"]
    return stage if isinstance(stage, str) else stage["name"]


def _code() -> str:
    """Commit of the code, `+ changes` when files differ from it; the version where there is no git."""
    root = Path(__file__).resolve().parents[2]
    copied = root / STATE_FILE
    if copied.is_file():
        return copied.read_text().strip()
    try:
        return state(root).line()
    except (ConfigError, OSError, subprocess.SubprocessError):
        return f"cospeech {__version__}, git does not tell its commit"


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")
