"""A plan against what real processes hold and send."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.strategies import COMMON, STRATEGIES, assert_near, clips, train_all
from tests.trainers import toy
from trainers.plan import training_config
from trainers.planning.count import PARTS
from trainers.planning.inventory import inventory
from trainers.planning.measure import build_stage, measure
from trainers.planning.memory import memory
from trainers.planning.time import traffic

toy.register()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RANKS = 2
SMGA = (
    "stage.network.window=20", "stage.network.width=64", "stage.network.layers=4", "stage.network.heads=2",
    "stage.network.feedforward=128",
    "stage.network.train_steps=50", "data.batch_size=2",
)  # fmt: skip
WORDS = ("trainer.max_steps=3", "trainer.limit_val_batches=0", "checkpoint.monitor=null")

# Some parameters are too large to be kept whole, and buckets are smaller than the network.
OPTIONS = {
    "deepspeed_1": "strategy.config.zero_optimization={reduce_bucket_size: 100000}",
    "deepspeed_2": "strategy.config.zero_optimization={reduce_bucket_size: 100000}",
    "deepspeed_3": "strategy.config.zero_optimization={stage3_param_persistence_threshold: 5000}",
}

TOO_SMALL = "strategy.config.zero_optimization={reduce_bucket_size: 50000}"


CASES = (
    [(name, ()) for name in STRATEGIES]
    + [(name, (OPTIONS[name],)) for name in OPTIONS]
    + [("fsdp", ("trainer.precision=bf16-mixed",)), ("deepspeed_2", ("trainer.precision=bf16-mixed",))]
    + [("deepspeed_2", (TOO_SMALL, "trainer.accumulate_grad_batches=2"))]
    + [("fsdp", ("stage.network.width=192", "gradient_checkpointing=true"))]
)
TWO = ("stage.network.width=256", "data.window=20", "data.batch_size=2")
OFFLOADED = ("strategy.offload=optimizer",)


def named(strategy: str, words: tuple[str, ...]) -> str:
    """Folder of a run."""
    return re.sub(r"[^\w.-]", "_", "-".join((strategy, *words)))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs on two ranks, one after the other in the same processes."""
    folder = tmp_path_factory.mktemp("planning")
    shards = clips(folder / "shards")

    def one(stage: str, strategy: str, *words: str, key: tuple[str, ...]) -> list[str]:
        return [
            f"stage={stage}", *COMMON, *WORDS, f"run={folder / named(strategy, key)}", f"data.shards={shards}",
            f"trainer.devices={RANKS}", f"strategy={strategy}", *words,
        ]  # fmt: skip

    train_all(
        folder,
        "counted",
        [one("counted", strategy, *SMGA, *words, key=words) for strategy, words in CASES]
        + [one("counted", "deepspeed_2", *SMGA, *OFFLOADED, key=OFFLOADED)]
        + [one("counted_gan", strategy, *TWO, key=TWO) for strategy in ("ddp", "deepspeed_2")],
    )
    return folder


def counted(folder: Path, strategy: str, words: tuple[str, ...]) -> list[dict[str, dict[str, int]]]:
    """What each rank held and sent."""
    out = folder / named(strategy, words)
    return [json.loads((out / f"held-{rank}.json").read_text()) for rank in range(RANKS)]


def planned(stage: str, *words: str) -> tuple[dict[str, float], dict[str, float], int]:
    """Predicted bytes by part, bytes sent by kind, and trained elements."""
    values: dict[str, Any] = training_config(None, [f"stage={stage}", *words])
    found = inventory(build_stage(values["stage"]))
    return memory(values, found, measure(values, 2), RANKS).gpu, traffic(values, found, RANKS), found.count


@pytest.mark.parametrize(("strategy", "words"), CASES, ids=lambda value: value if isinstance(value, str) else None)
def test_two_ranks_hold_and_send_what_was_planned(strategy: str, words: tuple[str, ...], runs: Path) -> None:
    given = (f"strategy={strategy}", *SMGA, *words)
    expected, sent, count = planned("mmgt.smga", *given)
    # What collectives hold for a moment is theirs, and cannot be seen.
    parts = [part for part in PARTS if not (strategy == "fsdp" and part == "buckets")]
    for rank in counted(runs, strategy, words):
        assert_near({part: rank["bytes"][part] for part in parts}, expected, 4 * count)
        assert_near(rank["sent"], sent, 4 * count)


@pytest.mark.parametrize("strategy", ["ddp", "deepspeed_2"])
def test_two_optimisers(strategy: str, runs: Path) -> None:
    expected, _, count = planned("toy_gan", f"strategy={strategy}", *TWO)
    names = ("parameters", "optimizer", "averages", "master")
    for rank in counted(runs, strategy, TWO):
        assert_near({part: rank["bytes"][part] for part in names}, expected, 4 * count)


def test_offloaded_parts_are_not_on_the_device(runs: Path) -> None:
    """On a CPU offloaded parts are counted all the same: they have to be what is planned for the machine's memory."""
    words = ["stage=mmgt.smga", "strategy=deepspeed_2", *OFFLOADED, *SMGA]
    values = training_config(None, words)
    found = inventory(build_stage(values["stage"]))
    output = memory(values, found, measure(values, 2), RANKS)
    assert output.gpu["optimizer"] == output.gpu["averages"] == output.gpu["master"] == 0
    for rank in counted(runs, "deepspeed_2", OFFLOADED):
        held = {part: rank["bytes"][part] for part in ("optimizer", "averages")}
        assert_near(held, output.host, 4 * found.count)
