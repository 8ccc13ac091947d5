"""Real training processes that are stopped in every way, and go on as if nothing had happened."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.processes import run, start, wait_for
from tests.e2e.strategies import train_all
from tests.shards import write_shards
from trainers.run.checkpoints import newest_first, newest_whole, step_of
from trainers.tracking.metrics_csv import read_metrics

STEPS = 40


def toy(folder: Path, *more: str) -> list[str]:
    return [
        "stage=toy", "data=toy", f"run={folder}", f"trainer.max_steps={STEPS}", "trainer.log_every_n_steps=1",
        "trainer.val_check_interval=4", "checkpoint.every_n_steps=5", "samples.count=0", *more,
    ]  # fmt: skip


def smga(folder: Path, shards: Path, *more: str) -> list[str]:
    return [
        "--config", "configs/mmgt/smga/tiny.yaml", "stage.network.width=32", "stage.network.layers=1",
        "stage.network.feedforward=32",
        "stage.network.sampling_steps=2", f"data.shards={shards}", "data.batch_size=2", f"run={folder}",
        f"trainer.max_steps={STEPS}", "trainer.log_every_n_steps=1", "trainer.val_check_interval=8",
        "checkpoint.every_n_steps=5", "samples.count=0", *more,
    ]  # fmt: skip


def losses(folder: Path) -> dict[int, tuple[float, ...]]:
    """Losses by step; a step that stands twice in the file is a failure."""
    rows = read_metrics(folder / "metrics.csv")
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: tuple(row.get(name) for name in ("train/loss", "val/loss")) for row in rows}


def kill_at(step: int, folder: Path, module: str, words: list[str]) -> None:
    process = start(module, *words)
    wait_for(lambda: any(step_of(path) >= step for path in newest_first(folder / "checkpoints")), process)
    process.kill()
    process.communicate()
    newest = newest_whole(folder / "checkpoints")
    assert newest is not None
    assert step_of(newest) < STEPS


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy run that nothing stopped."""
    folder = tmp_path_factory.mktemp("toy") / "unbroken"
    assert run("tests.trainers.toy", *toy(folder)).returncode == 0
    return folder


@pytest.mark.slow
def test_killed_run_goes_on_to_the_last_bit(tmp_path: Path, unbroken: Path) -> None:
    killed = tmp_path / "killed"
    kill_at(10, killed, "tests.trainers.toy", toy(killed, "stage.pause=0.1"))
    ended = run("tests.trainers.toy", *toy(killed))
    assert ended.returncode == 0
    assert "resuming from" in ended.stderr
    assert losses(killed) == losses(unbroken)
    assert len(losses(unbroken)) == STEPS


@pytest.fixture(scope="module")
def unbroken_smga(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SMGA's run that nothing stopped and no worker read for, beside its shards."""
    folder = tmp_path_factory.mktemp("smga")
    write_shards(folder / "shards", clips=6, splits=("train", "train", "val"))
    ended = run("trainers.fit", *smga(folder / "unbroken", folder / "shards", "data.workers=0"))
    assert ended.returncode == 0, ended.stderr
    return folder / "unbroken"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_smga_goes_on_to_the_last_bit(tmp_path: Path, unbroken_smga: Path, workers: int) -> None:
    """Also where workers read: they change no loss."""
    killed, shards = tmp_path / "killed", unbroken_smga.with_name("shards")
    kill_at(10, killed, "trainers.fit", smga(killed, shards, f"data.workers={workers}"))
    ended = run("trainers.fit", *smga(killed, shards, f"data.workers={workers}"))
    assert ended.returncode == 0, ended.stderr
    assert losses(killed) == losses(unbroken_smga)


def test_sigterm_saves_and_exits_and_the_run_goes_on(tmp_path: Path, unbroken: Path) -> None:
    folder = tmp_path / "run"
    process = start("tests.trainers.toy", *toy(folder, "stage.pause=0.2", "checkpoint.every_n_steps=1000"))
    wait_for(lambda: len(read_metrics(folder / "metrics.csv")) > 0, process)  # written at the first validation
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    saved = newest_whole(folder / "checkpoints")
    assert saved is not None
    assert str(saved) in err
    assert step_of(saved) < STEPS
    assert not (folder / "export").exists()
    assert run("tests.trainers.toy", *toy(folder)).returncode == 0
    assert losses(folder) == losses(unbroken)


@pytest.mark.slow
def test_ctrl_c_in_a_validation_does_not_wait_for_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("tests.trainers.toy", *toy(folder, "stage.val_pause=1", "data.val_batches=1000"))
    wait_for(lambda: len(read_metrics(folder / "metrics.csv")) > 0, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    saved = newest_whole(folder / "checkpoints")
    assert saved is not None
    assert step_of(saved) == 4
    assert "Traceback" not in err


@pytest.mark.slow
def test_second_ctrl_c_quits_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("tests.trainers.toy", *toy(folder, "stage.val_pause=600", "checkpoint.every_n_steps=4"))
    wait_for(lambda: bool(newest_first(folder / "checkpoints")), process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("finishing the batch" in line for line in process.stderr)  # the first one has arrived
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "without saving" in err


@pytest.mark.slow
def test_sigterm_between_two_batches_saves_as_well(tmp_path: Path) -> None:
    """Lightning's own handler would end the run there with status 0 and without saving."""
    folder = tmp_path / "run"
    ended = run("tests.trainers.toy", *toy(folder, "stage.terminate=true", "checkpoint.every_n_steps=1000"))
    assert ended.returncode == 143, ended.stderr
    assert [step_of(path) for path in newest_first(folder / "checkpoints")] == [5]


@pytest.mark.slow
def test_signal_to_the_whole_group_spares_the_workers_until_the_batch_is_done(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C, and SLURM its SIGTERM, to loader workers as well."""
    write_shards(tmp_path / "shards", clips=6, splits=("train", "train", "val"))
    folder = tmp_path / "run"
    words = smga(folder, tmp_path / "shards", "data.workers=2", "trainer.max_steps=100000")
    process = start("trainers.fit", *words)
    wait_for(lambda: len(read_metrics(folder / "metrics.csv")) > 0, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in map(int, children):
        os.kill(child, signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert len(children) >= 2
    assert process.returncode == 143, err
    assert newest_whole(folder / "checkpoints") is not None
    assert "Traceback" not in err


@pytest.mark.slow
def test_two_ranks_train_save_and_go_on_together(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = toy(folder, "trainer.accelerator=cpu", "trainer.devices=2", "strategy=ddp", "trainer.max_steps=8")
    train_all(tmp_path, "twice", [words, [*words, "trainer.max_steps=12"]])
    assert (folder / "export" / "model.safetensors").exists()
    assert sorted(losses(folder)) == list(range(12))
