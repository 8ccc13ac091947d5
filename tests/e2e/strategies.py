"""Short trainings with any strategy, as real processes over gloo."""

from pathlib import Path
from typing import Any

from tests.e2e.processes import run
from tests.shards import write_shards
from trainers.loggers import read_metrics

SHARDED = ("fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
STRATEGIES = ("ddp", *SHARDED)
BATCH = 4

COMMON = (
    "data=clips", "data.window=20", "data.stride=0.4", "data.workers=0", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1", "trainer.val_check_interval=4", "trainer.enable_progress_bar=false",
    "samples.count=0",
)  # fmt: skip
SMGA = (
    "stage=mmgt.smga", "stage.window=20", "stage.width=16", "stage.layers=2", "stage.heads=2",
    "stage.feedforward=32", "stage.train_steps=50", "stage.sampling_steps=2", "stage.dropout=0",
)  # fmt: skip
GAN = ("stage=toy_gan",)


def clips(folder: Path) -> Path:
    """Eight clips to train on, four to validate on."""
    write_shards(folder, clips=12, per_shard=4, seconds=[2.0, 3.1], splits=("train", "train", "val"))
    return folder


def train(
    out: Path, shards: Path, strategy: str, ranks: int, *words: str, stage: tuple[str, ...] = SMGA, fails: bool = False
) -> Any:
    """Train, four samples a step whatever the number of ranks; the process if it is to fail, else None."""
    done = run(
        "tests.trainers.toy", *stage, *COMMON, f"run={out}", f"data.shards={shards}", f"strategy={strategy}",
        f"trainer.devices={ranks}", f"data.batch_size={BATCH // ranks}", *words,
    )  # fmt: skip
    if fails:
        return done
    assert done.returncode == 0, done.stderr[-4000:]
    return None


def curve(out: Path, *names: str) -> dict[tuple[int, str], float]:
    """Figures of a run by step and name."""
    names = names or ("train/loss", "val/loss", "train/grad_norm")
    return {
        (row["step"], name): row[name] for row in read_metrics(out / "metrics.csv") for name in names if name in row
    }
