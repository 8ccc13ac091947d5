"""Short trainings with any strategy, as real processes over gloo."""

import json
from pathlib import Path
from subprocess import CompletedProcess

from tests.e2e.processes import run
from tests.shards import write_shards
from trainers.tracking.metrics_csv import read_metrics

SHARDED = ("fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
STRATEGIES = ("ddp", *SHARDED)
BATCH = 4

COMMON = (
    "data=clips", "data.window=20", "data.stride=0.4", "data.workers=0", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1", "trainer.val_check_interval=4", "trainer.enable_progress_bar=false",
    "samples.count=0",
)  # fmt: skip
SMGA = (
    "stage=mmgt.smga", "stage.network.window=20", "stage.network.width=16", "stage.network.layers=2",
    "stage.network.heads=2",
    "stage.network.feedforward=32", "stage.network.train_steps=50", "stage.network.sampling_steps=2",
    "stage.network.dropout=0",
)  # fmt: skip
GAN = ("stage=toy_gan",)


def clips(folder: Path) -> Path:
    """Eight clips to train on, four to validate on."""
    write_shards(folder, clips=12, per_shard=4, seconds=[2.0, 3.1], splits=("train", "train", "val"))
    return folder


def words(out: Path, shards: Path, strategy: str, ranks: int, *more: str, stage: tuple[str, ...] = SMGA) -> list[str]:
    """Words of the training command: four samples a step, whatever the number of ranks."""
    return [
        *stage, *COMMON, f"run={out}", f"data.shards={shards}", f"strategy={strategy}", f"trainer.devices={ranks}",
        f"data.batch_size={BATCH // ranks}", *more,
    ]  # fmt: skip


def train(out: Path, shards: Path, strategy: str, ranks: int, *more: str) -> CompletedProcess[str]:
    """One training."""
    return run("tests.trainers.toy", *words(out, shards, strategy, ranks, *more))


def train_all(folder: Path, name: str, runs: list[list[str]]) -> None:
    """Trainings one after the other, all with the same number of ranks."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(runs))
    done = run("tests.e2e.several", str(file), timeout=540)
    assert done.returncode == 0, done.stderr[-6000:]


def curve(out: Path, *names: str) -> dict[tuple[int, str], float]:
    """Figures of a run by step and name."""
    names = names or ("train/loss", "val/loss", "train/grad_norm")
    return {
        (row["step"], name): row[name] for row in read_metrics(out / "metrics.csv") for name in names if name in row
    }
