"""Short trainings with any strategy, as real processes over gloo."""

import json
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

from tests.e2e.processes import run
from tests.shards import write_shards
from trainers.plan import training_config
from trainers.planning.count import PARTS
from trainers.planning.inventory import inventory
from trainers.planning.measure import build_stage, measure
from trainers.planning.memory import memory
from trainers.tracking.metrics_csv import read_metrics

PAHA = {"univdm": "counted_univdm", "pce_face": "counted_pce"}
VIDEO = {"video_pose": "counted_pose", "video_audio": "counted_audio"}
VERSA = {"pose_video": "counted_pose_video", "audio_video": "counted_audio_video"}
"""What stages of PAHA, of MMGT's and of VersaAnimator's video diffusion are called whose ranks count what they hold."""
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
VIDEO_WORDS = (
    "data=clips", "data.window=8", "data.stride=0.2", "data.workers=0", "trainer.accelerator=cpu",
    "trainer.max_steps=4", "trainer.log_every_n_steps=1", "trainer.val_check_interval=2",
    "trainer.check_val_every_n_epoch=null", "trainer.enable_progress_bar=false", "trainer.gradient_clip_val=0.05",
    "checkpoint.every_n_steps=2", "checkpoint.monitor=val/rmse", "samples.count=1", "ema.decay=0.8",
    "ema.every_n_steps=1",
)  # fmt: skip
VIDEO_FIGURES = ("train/loss", "val/loss", "val/rmse", "train/grad_norm")


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
    done = run("tests.e2e.several", str(file), timeout=1200)
    assert done.returncode == 0, done.stderr[-6000:]


def curve(out: Path, *names: str) -> dict[tuple[int, str], float]:
    """Figures of a run by step and name."""
    names = names or ("train/loss", "val/loss", "train/grad_norm")
    return {
        (row["step"], name): row[name] for row in read_metrics(out / "metrics.csv") for name in names if name in row
    }


def assert_one_curve(folder: Path, kind: str, strategy: str, figures: Sequence[str], tolerance: float) -> None:
    """The run `KIND-STRATEGY` of a folder has the figures of `KIND-auto`, that of one process."""
    expected, found = (curve(folder / f"{kind}-{each}", *figures) for each in ("auto", strategy))
    assert {name for _, name in expected} == set(figures)
    assert found.keys() == expected.keys()
    wrong = {key: (found[key], value) for key, value in expected.items() if abs(found[key] - value) > tolerance}
    assert not wrong


def assert_near(held: dict[str, int], expected: dict[str, float], whole: float) -> None:
    """Every part within 10 %; what is not there is predicted not to be."""
    wrong = {
        part: (held[part], expected[part])
        for part in held
        if abs(held[part] - expected[part]) > 0.1 * max(held[part], 0.001 * whole)
    }
    assert not wrong, f"counted, planned: {wrong}"


def assert_planned(out: Path, words: list[str], strategy: str, ranks: int) -> None:
    """Every rank of a run held the bytes that are planned for the words of its training."""
    values = training_config(None, words)
    found = inventory(build_stage(values["stage"]))
    expected = memory(values, found, measure(values, values["data"]["batch_size"]), ranks).gpu
    parts = [part for part in PARTS if not (strategy == "fsdp" and part == "buckets")]
    for rank in range(ranks):
        counted = json.loads((out / f"held-{rank}.json").read_text())["bytes"]
        assert_near({part: counted[part] for part in parts}, expected, 4 * found.count)
