"""Global batches are split over ranks and accumulation, or refused with the arithmetic."""

import re
from pathlib import Path

import pytest

from settings import ConfigError, build
from settings.command import command
from tests.shards import write_shards
from trainers.fit import fit
from trainers.plan import plan, training_config
from trainers.stage.batches import USUAL, per_rank
from trainers.tracking.metrics_csv import read_metrics

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = (
    "stage.network.width=16", "stage.network.layers=1", "stage.network.heads=2", "stage.network.feedforward=16",
    "stage.network.window=20", "data.window=20",
    "stage.network.audio_layers=1", "stage.network.audio_channels=35",
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "ranks", "accumulate", "wanted"),
    [
        ({}, 8, 4, USUAL),
        ({"batch_size": 3}, 8, 4, 3),
        ({"global_batch": 256}, 8, 1, 32),
        ({"global_batch": 256}, 8, 4, 8),
        ({"global_batch": 256, "batch_size": 16}, 8, 2, 16),
        ({"global_batch": None, "batch_size": 5}, 2, 1, 5),
    ],
)
def test_a_batch_is_split(data, ranks, accumulate, wanted):
    assert per_rank(data, ranks, accumulate) == wanted


def test_what_does_not_divide_is_refused_with_the_arithmetic():
    with pytest.raises(ConfigError, match=r"=256 does not divide by 6 ranks x 1 accumulated batch = 6 .*=252 or 258"):
        per_rank({"global_batch": 256}, 6)
    with pytest.raises(ConfigError, match=r"is 256, but data\.batch_size=256 x 8 ranks .* is 2048"):
        per_rank({"global_batch": 256, "batch_size": 256}, 8)
    with pytest.raises(ConfigError, match=r"or set trainer\.accumulate_grad_batches=4$"):
        per_rank({"global_batch": 256, "batch_size": 8}, 8)
    with pytest.raises(ConfigError, match="global_batch=4,"):
        per_rank({"global_batch": 2}, 4)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*/paper.yaml")), ids=str)
def test_papers_say_their_whole_batch_and_a_precision(path):
    values = command(fit, ["--config", str(path), "data.shards=/nowhere"], prog="fit")
    assert values["data"]["batch_size"] is None
    whole = values["data"]["global_batch"]
    assert whole % 8 == 0 or whole < 8  # a paper's own batch may be too small for eight devices
    said = path.read_text()
    if other := re.search(r"extends: (\.\./.*)", said):  # what it differs from in its name alone
        said += (path.parent / other[1]).read_text()
    assert "precision:" in said


def test_a_training_takes_its_part_and_a_wrong_one_leaves_nothing(tmp_path):
    write_shards(tmp_path / "shards", clips=8, seconds=1)  # a window each: 8 an epoch
    words = ["--config", str(CONFIGS / "mmgt/smga/tiny.yaml"), *SMALL, f"data.shards={tmp_path / 'shards'}"]
    words += ["data.batch_size=null", "data.stride=5", "data.workers=0", "trainer.devices=1", "trainer.accelerator=cpu"]
    words += ["trainer.max_steps=-1", "trainer.max_epochs=2", "samples.count=0", "trainer.log_every_n_steps=1"]
    words += ["trainer.val_check_interval=null", "trainer.check_val_every_n_epoch=1", "checkpoint.monitor=null"]
    run = [*words, f"run={tmp_path / 'run'}", "data.global_batch=4", "trainer.accumulate_grad_batches=2"]
    build(command(fit, run, prog="fit"), fit)
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 4  # steps of 4 windows
    wrong = [*words, f"run={tmp_path / 'wrong'}", "data.global_batch=5", "trainer.accumulate_grad_batches=2"]
    with pytest.raises(ConfigError, match=r"global_batch=5 does not divide"):
        build(command(fit, wrong, prog="fit"), fit)
    assert not (tmp_path / "wrong").exists()


def test_a_plan_shares_the_batch_and_tells_hours_and_what_bf16_gives():
    words = [*SMALL, "data.global_batch=16", "trainer.precision=32-true"]
    smga = str(CONFIGS / "mmgt/smga/paper.yaml")
    output = plan(training_config(smga, words), gpus=4, gpu="h100", gpus_per_node=2, windows=1600)
    assert output.batch_size == 4
    assert [row["gpus"] for row in output.scaling] == [1, 2, 4]
    assert {round(row["samples_per_second"] * row["seconds"]) for row in output.scaling} == {16}
    assert output.training["steps"] == 3400 * 100
    assert output.training["hours"] == pytest.approx(340_000 * output.scaling[-1]["seconds"] / 3600)
    assert output.training["gpu_hours"] == pytest.approx(4 * output.training["hours"])
    alone = plan(training_config(smga, words), gpus=1, gpu="h100", windows=1600)  # waits for nobody
    assert alone.training["bf16_hours"] < 0.1 * alone.training["hours"]
    assert "bf16-mixed takes 7%" in alone.advice[0]
    paper = plan(training_config(smga, [*SMALL, "data.global_batch=16"]), gpus=1, gpu="h100")
    assert (paper.precision, paper.advice, paper.training) == ("bf16-mixed", [], {})


def test_a_plan_warns_where_bf16_wants_care_and_counts_both_optimisers_of_a_gan():
    base = str(CONFIGS / "implicit_motion/base/tiny.yaml")
    output = plan(training_config(base, ["data.batch_size=1", "trainer.max_steps=4000"]), gpus=1, gpu="h100")
    assert output.training["steps"] == 2000
    assert "bf16-mixed takes" in output.advice[0]
    assert "coordinates of warps" in output.advice[0]
