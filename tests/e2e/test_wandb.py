"""W&B offline over real processes: several ranks, a stop in a validation, a kill without warning."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.e2e.processes import run, start, wait_for
from tests.trainers import wandb_files
from trainers.tracking.metrics_csv import read_metrics
from trainers.tracking.wandb_run import AXIS

pytestmark = pytest.mark.slow

WORDS = (
    "stage=toy", "data=toy", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "trainer.val_check_interval=4",
    "trainer.enable_progress_bar=false", "samples.count=1", "samples.height=32", "wandb.mode=offline",
)  # fmt: skip


def of_csv(folder: Path) -> dict[tuple[str, int], list[Any]]:
    return {
        (name, row["step"]): [row[name]]
        for row in read_metrics(folder / "metrics.csv")
        for name in row
        if name != "step" and not name.startswith("speed/")
    }


def without_samples(folder: Path) -> dict[tuple[str, int], list[Any]]:
    return {key: values for key, values in wandb_files.figures(folder).items() if key[0] != "samples"}


def test_two_ranks_are_one_wandb_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = (*WORDS, f"run={folder}", "trainer.devices=2", "strategy=ddp", "samples.count=0")
    for steps in (4, 8):
        done = run("tests.trainers.toy", *words, f"trainer.max_steps={steps}")
        assert done.returncode == 0, done.stderr
    assert len(wandb_files.parts(folder)) == 2  # one a process that logged: the first rank's, two times
    assert len({part.stem for part in wandb_files.parts(folder)}) == 1
    assert wandb_files.figures(folder) == of_csv(folder)


def test_a_stop_in_a_validation_shows_nothing_twice(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = (*WORDS, f"run={folder}", "trainer.max_steps=8")
    stopped = run("tests.trainers.toy", *words, "stage.terminate=true")
    assert stopped.returncode == 143, stopped.stderr
    assert wandb_files.kinds(folder)["preempting"] == 1
    done = run("tests.trainers.toy", *words)
    assert done.returncode == 0, done.stderr
    assert without_samples(folder) == of_csv(folder)
    assert [row[AXIS] for row in wandb_files.rows(folder) if "samples" in row] == [3]


def test_a_kill_without_warning_loses_no_figure(tmp_path: Path) -> None:
    """W&B keeps rows in memory until there are enough for a block of its file; a kill takes them."""
    folder = tmp_path / "run"
    words = (*WORDS, f"run={folder}", "trainer.max_steps=40", "checkpoint.every_n_steps=5", "samples.count=0")
    # Whoever starts the trainings may itself use W&B: its service outlives the kill, and with it the killed run.
    wandb.setup()
    assert os.environ["WANDB_SERVICE"]
    process = start("tests.trainers.toy", *words, "stage.pause=0.2")
    wait_for(lambda: (folder / "checkpoints" / "step-00000010.ckpt").exists(), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    before = len(wandb_files.rows(folder))
    done = run("tests.trainers.toy", *words)
    assert done.returncode == 0, done.stderr
    assert before < 10
    assert wandb_files.figures(folder) == of_csv(folder)
    assert {row[AXIS] for row in wandb_files.rows(folder)} == set(range(40))
