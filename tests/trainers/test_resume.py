"""A run that goes on from any of its checkpoints ends as the run that was never stopped."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from settings import ConfigError
from tests.trainers.runs import Rows, rows, toy_run
from trainers.run.checkpoints import read

KINDS: dict[str, dict[str, Any]] = {
    "validation in the epoch": {"trainer": {"max_steps": 14}},
    "accumulated": {"trainer": {"accumulate_grad_batches": 2, "max_steps": 8}},
    "validation across epochs": {"trainer": {"max_steps": 13, "check_val_every_n_epoch": None}},
    "epochs": {"trainer": {"max_steps": -1, "max_epochs": 2, "val_check_interval": None}},
}
EVERY = {"checkpoint": {"every_n_steps": 1, "keep_last": 0}}


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures take longer than these runs, and have tests of their own."""
    monkeypatch.setattr("trainers.report.write_report", lambda folder: None)


def stopped_at(unbroken: Path, checkpoint: Path, folder: Path) -> Path:
    """A run folder as a kill leaves it right after a checkpoint was written, before a validation that may follow."""
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(unbroken / "config.yaml", folder)
    shutil.copy(checkpoint, folder / "checkpoints")
    lines = (unbroken / "metrics.csv").read_text().splitlines()
    columns = lines[0].split(",")
    step = read(checkpoint)["global_step"]
    for i, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        if int(cells[0]) == step - 1:
            cells[columns.index("val/loss")] = ""
            lines[i] = ",".join(cells)
        if int(cells[0]) == step + 1:
            lines[i] = line[: len(line) // 2]  # later rows are computed again, one was half written
            lines[i + 1 :] = []
            break
    else:
        lines.append("")
    (folder / "metrics.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_resume_from_every_step_is_exact(tmp_path: Path, kind: str) -> None:
    options = {**KINDS[kind], **EVERY}
    unbroken = toy_run(tmp_path / "unbroken", **options)
    wanted = rows(unbroken)
    assert any("val/loss" in row for row in wanted)
    final = torch.load(unbroken / "checkpoints" / "last.ckpt", weights_only=True)
    for checkpoint in sorted((unbroken / "checkpoints").glob("step-*.ckpt")):
        folder = toy_run(stopped_at(unbroken, checkpoint, tmp_path / checkpoint.stem), **options)
        assert rows(folder) == wanted, checkpoint.name
        repeated = torch.load(folder / "checkpoints" / final_name(unbroken), weights_only=True)
        assert_same(repeated["state_dict"], final["state_dict"])
        assert_same(repeated["callbacks"]["EMA"]["averages"], final["callbacks"]["EMA"]["averages"])
        assert (folder / "export" / "model.safetensors").read_bytes() == (
            unbroken / "export" / "model.safetensors"
        ).read_bytes()


def final_name(folder: Path) -> str:
    return (folder / "checkpoints" / "last.ckpt").resolve().name


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_validation_does_not_disturb_training(tmp_path: Path) -> None:
    def trained(found: Rows) -> list[float]:
        return [row["train/loss"] for row in found]

    with_it = toy_run(tmp_path / "with", samples={"count": 1})
    without = toy_run(tmp_path / "without", trainer={"limit_val_batches": 0})
    assert trained(rows(with_it)) == trained(rows(without))


def test_dropout_differs_between_steps_and_seeds(tmp_path: Path) -> None:
    """The seed of each step would also repeat the same masks at every step if it were not different each time."""
    one = [row["train/loss"] for row in rows(toy_run(tmp_path / "one"))]
    two = [row["train/loss"] for row in rows(toy_run(tmp_path / "two", seed=1))]
    repeated = [row["train/loss"] for row in rows(toy_run(tmp_path / "again"))]
    assert one == repeated
    assert not set(one) & set(two)


def test_longer_run_goes_on_where_the_shorter_ended(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run")
    toy_run(folder, trainer={"max_steps": 12})
    assert rows(folder) == rows(toy_run(tmp_path / "unbroken", trainer={"max_steps": 12}))
    assert "trainer.max_steps: 8 -> 12" in (folder / "environment.txt").read_text()


def test_new_run_folder_from_another_runs_state(tmp_path: Path) -> None:
    first = toy_run(tmp_path / "first")
    second = toy_run(tmp_path / "second", resume=str(first), trainer={"max_steps": 10})
    assert [row["step"] for row in rows(second)] == [8, 9]


def test_run_folders_that_may_not_be_used(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run already"):
        toy_run(folder, resume="none")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("name: toy", "name: other", 1))
    with pytest.raises(ConfigError, match="run of stage other, not toy"):
        toy_run(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(ConfigError, match="something else than a run"):
        toy_run(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
