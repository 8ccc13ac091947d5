"""Several ranks: each sample once, errors that end all of them, full disks."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.e2e.processes import run, start, wait_for
from tests.e2e.strategies import COMMON, train_all
from tests.shards import write_shards
from trainers.failures import first
from trainers.failures import main as failures
from trainers.run.checkpoints import damage, newest_whole
from trainers.tracking.metrics_csv import read_metrics

TOY = ("stage=toy", "stage.network.dropout=0", *COMMON, "trainer.devices=2")


def toy(out: Path, *words: str, timeout: float = 120) -> CompletedProcess[str]:
    return run("tests.trainers.toy", *TOY, f"run={out}", *words, timeout=timeout)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-three windows in two shards."""
    folder = tmp_path_factory.mktemp("ranks") / "shards"
    write_shards(folder, clips=23, per_shard=12, seconds=1.0)
    return folder


def seen(folder: Path, before: int | None = None) -> list[str]:
    """Samples that all ranks have trained on, those of steps before one alone if asked."""
    lines = [line.split() for file in folder.iterdir() for line in file.read_text().splitlines()]
    return [sample for step, sample in lines if before is None or int(step) < before]


DATA = ("data.batch_size=2", "data.window=25", "data.stride=1", "trainer.limit_val_batches=0")


@pytest.fixture(scope="module")
def epochs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs of an epoch by their number of workers, and beside each what its ranks have seen."""
    folder = tmp_path_factory.mktemp("epochs")
    words = [*TOY, f"data.shards={shards}", *DATA, "trainer.max_epochs=1", "strategy=ddp"]
    each = [
        [*words, f"run={folder / workers}", f"stage.seen={folder / f'{workers}-seen'}", f"data.workers={workers}"]
        for workers in ("0", "2")
    ]
    train_all(folder, "epochs", each)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_every_sample_once(epochs: Path, workers: int):
    # Two ranks with two workers read two shards: fewer shards than readers.
    counts = Counter(seen(epochs / f"{workers}-seen"))
    twice = [sample for sample, count in counts.items() if count > 1]
    assert len(counts) == 23
    assert len(twice) == 1
    assert max(counts.values()) == 2
    assert json.loads((epochs / str(workers) / "logs" / "repeats.json").read_text()) == {"0": twice}


@pytest.mark.slow
def test_other_ranks_go_on_in_the_middle_of_an_epoch_with_the_same_global_batch(shards: Path, tmp_path: Path):
    words = (
        f"data.shards={shards}",
        *DATA,
        "data.global_batch=4",
        "strategy=deepspeed_2",
        "checkpoint.every_n_steps=1",
    )

    def go_on(ranks: int, *more: str) -> CompletedProcess[str]:
        seen_by = f"stage.seen={tmp_path / str(len(more))}"
        return toy(tmp_path / "run", *words, f"trainer.devices={ranks}", seen_by, *more, timeout=240)

    done = go_on(2, "trainer.max_steps=2")
    assert done.returncode == 0, done.stderr
    refused = go_on(1, "trainer.max_steps=4")
    assert refused.returncode == 2
    assert "data.batch_size=2 x 1 rank x 1 accumulated batch is 2" in refused.stderr
    assert "set trainer.accumulate_grad_batches=2" in refused.stderr
    done = go_on(1, "trainer.max_steps=4", "trainer.accumulate_grad_batches=2")
    assert done.returncode == 0, done.stderr
    done = go_on(2, "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for part in ("1", "2") for file in (tmp_path / part).iterdir() for line in file.open()]
    # Six steps of four windows an epoch, whoever made them; two epochs of 23 windows, the last step filled up.
    assert Counter(int(step) for step, _ in lines) == dict.fromkeys(range(12), 4)
    counts = Counter(sample for _, sample in lines)
    listed = json.loads((tmp_path / "run" / "logs" / "repeats.json").read_text())
    repeats = [sample for ids in listed.values() for sample in ids]
    assert len(counts) == 23
    assert counts == Counter(2 * list(counts)) + Counter(repeats)
    assert len(repeats) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "rank"), [("ddp", 0), ("deepspeed_3", 1), ("fsdp", 1)])
def test_a_rank_that_raises_ends_all(
    shards: Path, tmp_path: Path, strategy: str, rank: int, capsys: pytest.CaptureFixture[str]
):
    # Others would wait for it half an hour by themselves; `toy` gives them two minutes, starting included.
    words = (f"data.shards={shards}", *DATA, "trainer.max_steps=50", f"strategy={strategy}")
    done = toy(tmp_path / "run", *words, "stage.raise_at=2", f"stage.rank={rank}")
    assert done.returncode == 1
    assert done.stderr.count("stopped:") == 1
    assert f"stopped: rank {rank} on " in done.stderr
    assert done.stderr.rstrip().endswith("ValueError: this rank has had enough")
    failure = first(tmp_path / "run")
    assert failure is not None
    assert (failure.rank, failure.of_others) == (rank, False)
    assert not failures([str(tmp_path / "run")])
    assert capsys.readouterr().out.startswith(f"rank {rank} on ")


@pytest.mark.slow
def test_a_rank_that_hangs_ends_all_with_stacks(shards: Path, tmp_path: Path):
    words = (f"data.shards={shards}", *DATA, "trainer.max_steps=50", "strategy=ddp", "watchdog.minutes=0.1")
    requeue = tmp_path / "requeue"
    os.environ["COSPEECH_REQUEUE_FILE"] = str(requeue)
    try:
        done = toy(tmp_path / "run", *words, "stage.hang_at=2", "stage.rank=1")
    finally:
        del os.environ["COSPEECH_REQUEUE_FILE"]
    assert done.returncode == 75, done.stderr
    stacks = [(tmp_path / "run" / "logs" / "stacks" / f"rank-000{rank}.txt").read_text() for rank in (0, 1)]
    assert "training_step" in stacks[1]
    assert "optimizer_step" in stacks[0] or "training_step" in stacks[0] or "backward" in stacks[0]
    assert "no batch for 0.1 minutes" in done.stderr
    assert set(requeue.read_text().split()) == {"hang"}


@pytest.mark.slow
def test_a_truncated_shard_of_one_rank_is_named_and_no_hang(tmp_path: Path):
    folder = tmp_path / "shards"
    write_shards(folder, clips=24, per_shard=6, seconds=1.0)
    shard = folder / "shard-000001.tar"
    os.truncate(shard, shard.stat().st_size // 2)
    words = (f"data.shards={folder}", *DATA, "trainer.max_epochs=2", "strategy=ddp")
    done = toy(tmp_path / "lenient", *words, "data.bad_sample_limit=0.5")
    assert done.returncode == 0, done.stderr
    assert "shard-000001.tar" in done.stderr
    assert read_metrics(tmp_path / "lenient" / "metrics.csv")[-1]["data/bad_samples"] > 0
    done = toy(tmp_path / "strict", *words, "data.bad_sample_minimum=1")
    assert done.returncode == 1
    assert done.stderr.count("stopped:") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    output = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if output.returncode:
        pytest.skip(f"may not mount a tmpfs here: {output.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "deepspeed_1"])
def test_a_full_disk_leaves_the_last_checkpoint(strategy: str, small_disk: Path, shards: Path, tmp_path: Path):
    out = small_disk / "run"
    words = (
        f"data.shards={shards}", *DATA, f"strategy={strategy}", "checkpoint.every_n_steps=2", "checkpoint.keep_last=0",
        "checkpoint.monitor=null", "stage.network.width=2000",
    )  # fmt: skip
    done = toy(out, *words, "trainer.max_steps=40")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("stopped:") == 1
    assert "No space left on device" in done.stderr
    assert "is whole: step-" in done.stderr
    left = newest_whole(out / "checkpoints")
    assert left is not None
    assert damage(left) is None
    assert not [p for p in (out / "checkpoints").iterdir() if p.name.endswith(".writing")]
    step = int(left.name.removesuffix(".ckpt").split("-")[1])
    # With room again it goes on from there.
    roomy = tmp_path / "roomy"
    shutil.copytree(out, roomy, symlinks=True)
    done = toy(roomy, *words, f"trainer.max_steps={step + 2}")
    assert done.returncode == 0, done.stderr
    assert f"step-{step:08d}.ckpt, step {step}" in done.stderr


@pytest.mark.slow
def test_killed_ranks_leave_no_others_behind(shards: Path, tmp_path: Path):
    words = (f"data.shards={shards}", *DATA, "trainer.max_steps=1000", "strategy=ddp", "stage.pause=0.05")
    process = start("tests.trainers.toy", *TOY, f"run={tmp_path / 'run'}", *words, f"stage.seen={tmp_path / 'seen'}")
    wait_for(lambda: (tmp_path / "seen").exists() and len(list((tmp_path / "seen").iterdir())) == 2, process)
    ranks = [int(file.name) for file in (tmp_path / "seen").iterdir()]
    process.kill()
    process.communicate()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{rank}").exists() for rank in ranks) and time.monotonic() < end:
        time.sleep(0.2)
    assert not [rank for rank in ranks if Path(f"/proc/{rank}").exists()]
