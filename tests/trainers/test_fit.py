"""What a training run leaves, and how it ends."""

import json
import math
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
import yaml
from safetensors.torch import load_file

from settings import ConfigError
from tests.trainers.runs import rows, toy_run
from tests.trainers.toy import ToyData, ToyNetwork, ToyStage
from trainers.fit import main
from trainers.run.errors import LossLost
from trainers.tracking.loggers import MetricsCSV
from trainers.tracking.metrics_csv import read_metrics
from trainers.training import _operations

# Validations after steps 4 and 8, though an epoch has 6.
ACROSS = {"check_val_every_n_epoch": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(tmp_path_factory.mktemp("fit") / "run", trainer=ACROSS, samples={"count": 2, "height": 64})


def test_run_folder_holds_what_the_docs_say(folder: Path) -> None:
    parts = {path.name for path in folder.iterdir()}
    assert parts == {
        "config.yaml", "environment.txt", "checkpoints", "export", "samples", "metrics.csv", "report.html",
        "tensorboard",
    }  # fmt: skip
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["stage"]["optimizer"] == {
        "name": "adan", "lr": 2e-4, "betas": [0.98, 0.92, 0.99], "eps": 1e-8, "weight_decay": 0.02,
    }  # fmt: skip
    assert config["trainer"]["max_steps"] == 8
    environment = (folder / "environment.txt").read_text()
    assert f"torch: {torch.__version__}" in environment
    assert "code: " in environment
    assert "cpu: " in environment
    assert list((folder / "tensorboard").glob("events.*"))


def test_config_of_a_run_starts_the_same_run(folder: Path, tmp_path: Path) -> None:
    assert main(["--config", str(folder / "config.yaml"), f"run={tmp_path / 'again'}"]) == 0
    assert rows(tmp_path / "again") == rows(folder)


def test_figures_of_every_step(folder: Path) -> None:
    found = read_metrics(folder / "metrics.csv")
    assert [row["step"] for row in found] == list(range(8))
    for row in found:
        assert {"train/loss", "train/lr", "train/grad_norm", "epoch"} <= row.keys()
        assert row["speed/samples_per_second"] > 0
        assert 0 <= row["speed/data_wait_share"] <= 1
        assert row["speed/memory_gb"] > 0
        assert row["data/bad_samples"] == 2
    assert [row["step"] for row in found if "val/loss" in row] == [3, 7]


def test_learning_rate_is_that_of_the_schedule(folder: Path) -> None:
    rates = [row["train/lr"] for row in read_metrics(folder / "metrics.csv")]
    # Read after the schedule's step: that of the next batch.
    assert rates == pytest.approx([2e-4 * min(1, (step + 2) / 5) for step in range(8)])


def test_sample_videos_show_real_beside_generated_with_sound(folder: Path) -> None:
    videos = sorted((folder / "samples").glob("*.mp4"))
    assert [path.name for path in videos] == [
        f"step-{step:08d}_clip-{clip}-0.mp4" for step in (4, 8) for clip in (1000, 1001)
    ]
    with av.open(str(videos[0])) as video:
        assert (video.streams.video[0].height, video.streams.video[0].width) == (64, 128)
        assert sum(1 for _ in video.decode(video=0)) == 4
        assert len(video.streams.audio) == 1


def test_export_holds_averaged_weights_and_statistics(folder: Path) -> None:
    weights = load_file(folder / "export" / "model.safetensors")
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    averages = checkpoint["callbacks"]["EMA"]["averages"]
    for name, average in averages.items():
        assert torch.equal(weights[name], average)
        assert not torch.equal(weights[name], checkpoint["state_dict"][f"network.{name}"])
    assert weights["mean"].item() == 0.5
    assert json.loads((folder / "export" / "config.json").read_text())["width"] == 8


def test_export_loads_in_a_plain_session(folder: Path) -> None:
    code = (
        "from tests.trainers.toy import ToyData, ToyNetwork, ToyStage\n"
        f"network = ToyNetwork.from_pretrained({str(folder / 'export')!r})\nprint(network.mean.item())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split()[-1] == "0.5"


@pytest.mark.paper("MMGT-9")
def test_average_warms_up_and_is_used_for_validation(tmp_path: Path) -> None:
    every = {"every_n_steps": 1, "keep_last": 0}
    folder = toy_run(tmp_path / "run", checkpoint=every, ema={"decay": 0.3}, trainer=ACROSS)
    average: dict[str, torch.Tensor] = {}
    for step in range(1, 9):
        checkpoint = torch.load(folder / "checkpoints" / f"step-{step:08d}.ckpt", weights_only=True)
        kept = checkpoint["callbacks"]["EMA"]["averages"]
        decay = min(0.3, (1 + step) / (10 + step))
        if average:
            for name, value in average.items():
                weight = checkpoint["state_dict"][f"network.{name}"]
                assert torch.allclose(kept[name], decay * value + (1 - decay) * weight, atol=1e-7)
        average = kept
    # The second validation follows step 8.
    network = ToyNetwork.from_pretrained(folder / "export").eval()
    stage = ToyStage().eval()
    stage.network = network
    losses = [stage._loss(batch).item() for batch in ToyData(("pose.npz",)).val_dataloader()]
    assert rows(folder)[7]["val/loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_average_of_several_steps_at_once_weighs_as_much(tmp_path: Path) -> None:
    folder = toy_run(
        tmp_path / "run",
        checkpoint={"every_n_steps": 1, "keep_last": 0},
        ema={"decay": 0.4, "every_n_steps": 3},
        trainer=ACROSS,
    )
    states = [torch.load(folder / "checkpoints" / f"step-{step:08d}.ckpt", weights_only=True) for step in range(1, 9)]
    averages = [state["callbacks"]["EMA"]["averages"]["outer.weight"] for state in states]
    decays = [min(0.4, (1 + step) / (10 + step)) for step in range(1, 9)]
    for step in range(2, 9):
        average, before = averages[step - 1], averages[step - 2]
        if step > 3 and step % 3:
            assert torch.equal(average, before)
            continue
        decay = decays[step - 1] if step <= 3 else math.prod(decays[step - 3 : step])
        weight = states[step - 1]["state_dict"]["network.outer.weight"]
        assert torch.allclose(average, decay * before + (1 - decay) * weight, atol=1e-7)


def test_without_average_the_weights_themselves_are_exported(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", ema={"enabled": False})
    weights = load_file(folder / "export" / "model.safetensors")
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(weights["outer.weight"], checkpoint["state_dict"]["network.outer.weight"])


def test_nan_stops_with_step_clips_and_advice_and_keeps_the_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["stage=toy", "stage.nan_at=3", "data=toy", f"run={run}", "trainer.max_steps=8", "trainer.accelerator=cpu"]
    assert main([*words, "checkpoint.every_n_steps=2", "samples.count=0"]) == 1
    err = capsys.readouterr().err
    assert "step 4: the loss is nan" in err
    assert err.count("clip-0") >= 4
    assert "stage.optimizer.lr" in err
    assert "Traceback" not in err
    kept = list((run / "checkpoints").glob("step-*.ckpt"))
    assert [path.name for path in kept] == ["step-00000002.ckpt"]
    weights = torch.load(kept[0], weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert not (run / "export").exists()


def test_exploding_loss_stops(tmp_path: Path) -> None:
    changes = {"data": {"batches": 40}, "trainer": {"max_steps": 40}}
    with pytest.raises(LossLost, match=r"step 31: the loss is .* times its usual 0\.4"):
        toy_run(tmp_path / "run", stage={"explode_at": 30}, **changes)
    toy_run(tmp_path / "off", stage={"explode_at": 30}, guard={"explode_factor": None}, **changes)


def test_init_from_starts_a_new_run_from_anothers_weights(folder: Path, tmp_path: Path) -> None:
    tuned = toy_run(tmp_path / "tuned", init_from=str(folder))
    assert [row["step"] for row in rows(tuned)] == list(range(8))
    assert rows(tuned)[0]["train/loss"] != rows(folder)[0]["train/loss"]
    assert not (
        set(load_file(tuned / "export" / "model.safetensors")) ^ set(load_file(folder / "export" / "model.safetensors"))
    )


def test_network_without_gradient_checkpointing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ToyNetwork has no enable_gradient_checkpointing"):
        toy_run(tmp_path / "run", gradient_checkpointing=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_compiled_run_matches(folder: Path, tmp_path: Path) -> None:
    compiled = toy_run(tmp_path / "run", compile={"enabled": True}, trainer={"max_steps": 4})
    for ours, theirs in zip(rows(compiled), rows(folder), strict=False):
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=0.05)  # other random numbers for dropout
    assert set(load_file(compiled / "export" / "model.safetensors")) == {
        "mean", "inner.weight", "inner.bias", "outer.weight", "outer.bias",
    }  # fmt: skip


def test_progress_line_names_loss_rate_and_bad_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_run(tmp_path / "run", trainer={"enable_progress_bar": True})
    err = capsys.readouterr().err
    assert "step 1/8" in err
    assert "bad samples 2" in err
    assert "val/loss" in err


def test_rows_of_one_step_are_one_row_and_columns_may_come_late(tmp_path: Path) -> None:
    metrics = MetricsCSV(tmp_path / "metrics.csv", flush_every=2)
    for step in range(6):
        metrics.log_metrics({"train/loss": step / 3}, step)
        if step == 3:
            metrics.flush()
            metrics.log_metrics({"val/loss": 0.1}, step)
        if step == 5:
            metrics.flush()
            metrics.log_metrics({"val/loss": 0.2}, step)
    metrics.finalize("success")
    found = read_metrics(tmp_path / "metrics.csv")
    assert [row["train/loss"] for row in found] == [step / 3 for step in range(6)]
    assert {row["step"]: row["val/loss"] for row in found if "val/loss" in row} == {3: 0.1, 5: 0.2}


def test_wandb_offline_writes_a_run_with_its_samples(tmp_path: Path) -> None:
    folder = toy_run(
        tmp_path / "run", wandb={"mode": "offline", "name": "mine", "tags": ["toy"]}, samples={"count": 1, "height": 32}
    )
    written = list((folder / "wandb").glob("offline-run-*"))
    assert len(written) == 1
    assert list(written[0].glob("run-*.wandb"))
    assert list(written[0].glob("files/media/videos/samples*.mp4"))


def test_wandb_online_without_an_account_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="wandb login"):
        toy_run(tmp_path / "run", wandb={"mode": "online"})


def test_operations_of_a_step_are_counted_without_taking_one(tmp_path: Path):
    values = {
        "stage": {"name": "toy", "network": {"width": 8}}, "trainer": {"precision": "32-true"},
        "gradient_checkpointing": False,
        "data": {"name": "clips", "window": 4},
    }  # fmt: skip
    one, three = _operations(values, 1), _operations(values, 3)
    # Two products of (4 x 134, 3) with (3, 8) and back: 2 operations each, once forward, for the weights and,
    # in the outer one alone, for its inputs.
    assert one == 2 * (4 * 134 * 3 * 8) * 5
    assert three == 3 * one
