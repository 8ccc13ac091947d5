"""One W&B run for a run folder: nothing lost, nothing twice, whatever happened to the processes."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from settings import ConfigError
from tests.trainers import wandb_files
from tests.trainers.runs import rows, toy_run
from tests.trainers.wandb_files import logged_run
from trainers.options import WandbOptions
from trainers.run.folder import RunFolder
from trainers.tracking.loggers import MetricsCSV
from trainers.tracking.metrics_csv import read_metrics
from trainers.tracking.wandb_run import AXIS, Logged, WandbRun, history

OFTEN: dict[str, Any] = {"checkpoint": {"every_n_steps": 3}}


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures take longer than these runs, and have tests of their own."""
    monkeypatch.setattr("trainers.report.write_report", lambda folder: None)


def of_csv(folder: Path) -> dict[tuple[str, int], list[float]]:
    return {(name, row["step"]): [row[name]] for row in rows(folder) for name in row if name != "step"}


def forget_after(folder: Path, step: int) -> None:
    """Leave the run folder as a kill some steps after the checkpoint of `step` does."""
    for file in (folder / "checkpoints").iterdir():
        if file.name != f"step-{step:08d}.ckpt":
            file.unlink()


@pytest.mark.parametrize("kept", [1.0, 0.7, 0.0], ids=["all", "some", "none"])
def test_figures_of_a_run_that_was_killed_are_there_once(tmp_path: Path, kept: float) -> None:
    folder = logged_run(tmp_path / "run", **OFTEN)
    forget_after(folder, 6)
    (file,) = wandb_files.parts(folder)
    header = 7
    whole = file.read_bytes()
    file.write_bytes(whole[: header + int(kept * (len(whole) - header))])  # the rest was in a killed process's memory
    left = len(list(history(file)))
    assert {1.0: left == 8, 0.7: 0 < left < 8, 0.0: left == 0}[kept]
    assert wandb_files.is_whole(file) == (kept == 1.0)

    logged_run(folder, **OFTEN)
    assert wandb_files.figures(folder) == of_csv(folder)
    assert len({part.stem for part in wandb_files.parts(folder)}) == 1
    numbers = [row["_step"] for row in wandb_files.rows(folder)]
    assert numbers == sorted(set(numbers))
    assert all(wandb_files.is_whole(part) for part in wandb_files.parts(folder))  # else `wandb beta sync` stops
    assert len(wandb_files.parts(folder)) == (1 if kept == 0.0 else 2)


def test_a_validation_that_is_made_up_for_gets_a_row_of_its_own(tmp_path: Path) -> None:
    """It belongs to the step before the one that training goes on with, which W&B may have already."""
    folder = logged_run(tmp_path / "run", trainer={"limit_val_batches": 0, "max_steps": 4}, **OFTEN)
    forget_after(folder, 3)
    logged_run(folder, trainer={"max_steps": 6, "val_check_interval": 3}, **OFTEN)
    found = wandb_files.figures(folder)
    assert all(len(values) == 1 for values in found.values())
    assert {step for name, step in found if name == "train/loss"} == set(range(6))
    assert {step for name, step in found if name == "val/loss"} == {
        row["step"] for row in rows(folder) if "val/loss" in row
    }


def test_a_sample_is_shown_once(tmp_path: Path) -> None:
    with_samples: dict[str, Any] = {**OFTEN, "samples": {"count": 1, "height": 32}, "trainer": {"max_steps": 11}}
    folder = logged_run(tmp_path / "run", **with_samples)
    forget_after(folder, 6)
    logged_run(folder, **with_samples)
    assert [row[AXIS] for row in wandb_files.rows(folder) if "samples" in row] == [3, 9]


def test_a_longer_run_goes_on_in_the_same_wandb_run(tmp_path: Path) -> None:
    folder = logged_run(tmp_path / "run", **OFTEN)
    logged_run(folder, trainer={"max_steps": 12}, **OFTEN)
    assert wandb_files.figures(folder) == of_csv(folder)
    assert len({part.stem for part in wandb_files.parts(folder)}) == 1
    assert max(row[AXIS] for row in wandb_files.rows(folder)) == 11


def test_two_runs_of_one_process_are_two_wandb_runs(tmp_path: Path) -> None:
    first, second = logged_run(tmp_path / "first", **OFTEN), logged_run(tmp_path / "second", seed=1, **OFTEN)
    assert wandb_files.figures(first) == of_csv(first)
    assert wandb_files.figures(second) == of_csv(second)
    assert wandb_files.parts(first)[0].stem != wandb_files.parts(second)[0].stem


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = WandbRun(RunFolder(tmp_path), WandbOptions(mode="offline"), {}, 0)
    logger.log_metrics({"train/loss": 1.0}, 0)
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_names_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "fromsweep")
    folder = logged_run(tmp_path / "run", **OFTEN)
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    logged_run(folder, trainer={"max_steps": 10}, **OFTEN)
    assert {part.stem for part in wandb_files.parts(folder)} == {"run-fromsweep"}


@pytest.mark.parametrize(
    ("number", "code", "preempting"), [(0, 1, False), (signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)]
)
def test_wandb_is_told_how_a_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, preempting: bool
) -> None:
    said: list[Any] = []
    run = SimpleNamespace(
        finish=lambda exit_code=0: said.append(exit_code), mark_preempting=lambda: said.append("preempting")
    )
    logger = WandbRun(RunFolder(tmp_path), WandbOptions(mode="offline"), {}, 0)
    logger._experiment = run
    monkeypatch.setattr("trainers.tracking.wandb_run.received", lambda: number)
    logger.finalize("failed")
    logger.finalize("failed")  # Lightning does it, and the command
    assert said == [*(["preempting"] if preempting else []), code]


class Server:
    """A W&B run that goes on with what a server has, and keeps what it is sent."""

    resumed = True

    def __init__(self, rows_there: int, step: int):
        self.starting_step, self.summary = rows_there, {AXIS: step}
        self.sent: list[tuple[int, dict[str, Any]]] = []

    def log(self, figures: dict[str, Any], step: int) -> None:
        self.sent.append((step, figures))

    def finish(self) -> None:
        pass


def test_online_the_server_says_what_is_missing(tmp_path: Path) -> None:
    """Rows 0 to 7 were logged and written to metrics.csv, 0 to 4 arrived."""
    folder = RunFolder(tmp_path)
    metrics = MetricsCSV(folder.metrics)
    for step in range(8):
        metrics.log_metrics({"train/loss": step / 7}, step)
    metrics.log_metrics({"val/loss": 0.5}, 7)
    metrics.flush()
    server = Server(rows_there=5, step=4)
    logger = WandbRun(folder, WandbOptions(mode="online"), {}, from_step=8)
    logger._experiment = server
    logger.log_metrics({"train/loss": 2.0}, 8)
    # Whether the server's last row is whole, nobody knows: it is sent again, under a number that comes after it.
    assert [(number, row[AXIS]) for number, row in server.sent] == [(5, 4), (6, 5), (7, 6), (8, 7), (9, 8)]
    assert [row["train/loss"] for _, row in server.sent] == [4 / 7, 5 / 7, 6 / 7, 1.0, 2.0]
    assert [row[AXIS] for _, row in server.sent if "val/loss" in row] == [7]


def test_online_steps_that_the_server_has_are_not_sent_again() -> None:
    logged = Logged(row=2, steps={"train/loss": 9, "val/loss": 3})
    logged.agree_with_server(row=8, step=7)
    assert logged.row == 8
    assert [logged.holds("train/loss", step) for step in (6, 7, 8)] == [True, True, False]
    assert [logged.holds("val/loss", step) for step in (6, 7)] == [True, False]  # the last row may lack it
    assert not logged.holds("new", 7)


def test_online_without_an_account_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="wandb login"):
        toy_run(tmp_path / "run", wandb={"mode": "online"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wandb", "said"),
    [
        ({"project": "a/b:c"}, r"wandb\.project=a/b:c: .*/ : may not be in it"),
        ({"project": "p" * 129}, r"wandb\.project=p+: .* 1 to 128 letters"),
        ({"tags": ["whole", ""]}, r"wandb\.tags: a tag has 1 to 64 letters, got 0"),
        ({"name": "n" * 129}, r"wandb\.name: .* got 129"),
    ],
)
def test_names_that_wandb_refuses_are_refused_before_a_folder_is_made(tmp_path: Path, wandb, said) -> None:
    with pytest.raises(ConfigError, match=said):
        toy_run(tmp_path / "run", wandb={"mode": "offline", **wandb})
    assert not (tmp_path / "run").exists()


def test_wandb_gets_what_metrics_csv_gets(tmp_path: Path) -> None:
    folder = logged_run(tmp_path / "run", **OFTEN)
    ours = {row["step"]: row for row in read_metrics(folder / "metrics.csv")}
    for row in wandb_files.rows(folder):
        step = row[AXIS]
        assert {name: row[name] for name in ours[step] if name != "step"} == {
            name: value for name, value in ours[step].items() if name != "step"
        }
    assert len(ours) == len(wandb_files.rows(folder)) == 8
    assert wandb.run is None
