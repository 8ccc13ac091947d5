"""A run that goes on with another config, beside another run, or over what is left of one."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from settings import ConfigError
from settings.locks import alone
from tests.trainers import toy
from tests.trainers.runs import rows, toy_run
from trainers.fit import main
from trainers.report import write_report
from trainers.run.resuming import RULES, rule_of
from trainers.tracking.metrics_csv import read_metrics

pytestmark = pytest.mark.usefixtures("logged")

ROOT = Path(__file__).resolve().parents[2]
SCHEDULE = {"name": "warmup", "warmup_steps": 1}


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "report" not in request.node.name:
        monkeypatch.setattr("trainers.report.write_report", lambda folder: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(tmp_path_factory.mktemp("finished") / "run", stage={"schedule": SCHEDULE})


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


def whole(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("keep", [-1, 0])
def test_every_checkpoint_may_be_kept(tmp_path: Path, keep: int) -> None:
    run = toy_run(tmp_path / "run", checkpoint={"keep_last": keep})
    names = [path.name for path in sorted((run / "checkpoints").glob("step-*"))]
    assert names == [f"step-{step:08d}.ckpt" for step in (2, 4, 6, 8)]
    assert (run / "checkpoints" / "last.ckpt").exists()
    repeated = toy_run(run, trainer={"max_steps": 10}, checkpoint={"keep_last": keep})
    assert [row["step"] for row in rows(repeated)] == list(range(10))


def test_a_run_without_its_checkpoints_is_not_begun_over(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")
    before = whole(folder)
    with pytest.raises(ConfigError, match="no checkpoint to go on from"):
        toy_run(folder, stage={"schedule": SCHEDULE})
    shutil.rmtree(folder / "export")
    with pytest.raises(ConfigError, match="figures of 8 steps"):
        toy_run(folder, stage={"schedule": SCHEDULE})
    assert whole(folder) == {name: data for name, data in before.items() if not name.startswith("export")}


def test_a_run_that_broke_off_before_its_first_checkpoint_says_that_it_begins_anew(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(folder / "checkpoints")
    shutil.rmtree(folder / "export")
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:2]))
    toy_run(folder, stage={"schedule": SCHEDULE})
    assert "stopped at step 1 before its first checkpoint; it begins anew at step 1" in caplog.text
    assert [row["step"] for row in rows(folder)] == list(range(8))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stage": {"network": {"width": 4}}}, "stage.network.width: 8 -> 4"),
        ({"stage": {"optimizer": "adamw"}}, "stage.optimizer.name: 'adan' -> 'adamw'"),
        ({"seed": 5}, "seed: 0 -> 5"),
        ({"data": {"seed": 5}}, "data.seed: 0 -> 5"),
    ],
)
def test_a_refused_resume_leaves_everything_as_it_was(folder: Path, changes: dict[str, Any], says: str) -> None:
    before = whole(folder)
    changes = {**changes, "stage": {"schedule": SCHEDULE, **changes.get("stage", {})}}
    with pytest.raises(ConfigError) as refused:
        toy_run(folder, trainer={"max_steps": 12}, **changes)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert whole(folder) == before


def test_weights_of_another_network_are_refused_where_no_config_tells(folder: Path, tmp_path: Path) -> None:
    alone_one = tmp_path / "some.ckpt"
    shutil.copy(folder / "checkpoints" / "last.ckpt", alone_one)
    with pytest.raises(ConfigError, match=r"network.inner.weight is \(8, 3\) there and \(4, 3\) here"):
        toy_run(tmp_path / "new", resume=str(alone_one), stage={"network": {"width": 4}})
    assert not (tmp_path / "new").exists()
    torch.save({"state_dict": {}}, alone_one)
    with pytest.raises(ConfigError, match="no checkpoint of a run of this program"):
        toy_run(tmp_path / "new", resume=str(alone_one))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["toy", "toy_gan"])
def test_changed_options_of_the_optimiser_are_used_and_said(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def options(lr: float, decay: float) -> dict[str, Any]:
        optimizer = {"name": "adamw", "lr": lr, "weight_decay": decay}
        return {"name": kind, "optimizer": optimizer, "schedule": {"name": "warmup", "warmup_steps": 100}}

    steps = 8 if kind == "toy" else 16
    run = toy_run(tmp_path / "run", stage=options(2e-3, 0.01), trainer={"max_steps": steps})
    toy_run(run, stage=options(1e-4, 0.5), trainer={"max_steps": 2 * steps})
    found = read_metrics(run / "metrics.csv")
    rates = [row["train/lr"] for row in found]
    assert rates[:8] == pytest.approx([2e-3 * (step + 2) / 100 for step in range(8)])
    assert rates[8:] == pytest.approx([1e-4 * (step + 2) / 100 for step in range(8, 16)])
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert {group["weight_decay"] for o in saved["optimizer_states"] for group in o["param_groups"]} == {0.5}
    assert {rate for schedule in saved["lr_schedulers"] for rate in schedule["base_lrs"]} == {1e-4}
    said = list({r.getMessage() for r in caplog.records if "changed, and used from here on" in r.getMessage()})
    assert len(said) == 1
    assert "stage.optimizer.lr: 0.002 -> 0.0001, stage.optimizer.weight_decay: 0.01 -> 0.5" in said[0]


def test_the_first_step_after_a_change_is_made_with_it(tmp_path: Path) -> None:
    """With no learning rate and no decay nothing moves any more."""

    def options(lr: float) -> dict[str, Any]:
        return {"optimizer": {"name": "adamw", "lr": lr, "weight_decay": 0.0}, "schedule": "constant"}

    run = toy_run(tmp_path / "run", stage=options(1e-3), checkpoint={"keep_last": 0, "every_n_steps": 1})
    toy_run(run, stage=options(0.0), checkpoint={"keep_last": 0, "every_n_steps": 1}, trainer={"max_steps": 10})
    states = [
        torch.load(run / "checkpoints" / f"step-{step:08d}.ckpt", weights_only=True)["state_dict"] for step in (7, 8, 9)
    ]
    name = "network.inner.weight"
    assert not torch.equal(states[0][name], states[1][name])
    assert torch.equal(states[1][name], states[2][name])


def test_another_schedule_batch_average_and_monitor_are_used(tmp_path: Path, finished: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    toy_run(
        run,
        stage={"schedule": {"name": "cosine", "warmup_steps": 0}},
        data={"batch_size": 2},
        ema={"decay": 0.0, "every_n_steps": 1},
        checkpoint={"monitor": "train/loss"},
        trainer={"max_steps": 16, "gradient_clip_val": 0.5, "accumulate_grad_batches": 2},
    )
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["lr_schedulers"][0]["_last_lr"] == [pytest.approx(0, abs=1e-9)]
    averages = saved["callbacks"]["EMA"]["averages"]
    assert all(torch.equal(averages[n], saved["state_dict"][f"network.{n}"]) for n in averages)
    assert saved["callbacks"]["Checkpoints"]["best"] == pytest.approx(rows(run)[15]["train/loss"], rel=0.5)
    assert "changed data.batch_size: 4 -> 2" in (run / "environment.txt").read_text()


def test_every_rule_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    for rule in RULES:
        assert f"`{rule.keys}`" in text, rule.keys
    assert rule_of("stage.network.dropout").why_not is None
    assert rule_of("stage.network.width").why_not is not None
    assert rule_of("stage.pause").why_not is None


def test_one_training_at_a_time_in_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = whole(folder)
    words = ["stage=toy", "data=toy", "trainer.max_steps=9", f"run={folder}", "trainer.accelerator=cpu"]
    with alone(folder / ".lock") as got:
        assert got
        assert main(words) == 2
        err = capsys.readouterr().err
        assert "another training runs in this folder (process" in err
        assert f"process {os.getpid()} on " in err
        assert err.count("\n") == 1
    (folder / ".lock").unlink()
    assert whole(folder) == before


def test_the_lock_of_a_killed_training_is_free_at_once(folder: Path) -> None:
    """Also while a child that it forked, as a loader worker, is still there."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom settings.locks import alone\n"
        f"with alone(Path({str(folder)!r}) / '.lock') as got:\n"
        "    child = os.fork()\n"
        # The child speaks, so that it is there, and has let go, before its parent is killed.
        "    if child == 0:\n        print(os.getpid(), flush=True)\n        time.sleep(30)\n        os._exit(0)\n"
        "    time.sleep(30)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with alone(folder / ".lock") as got:
            assert not got
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        with alone(folder / ".lock") as got:
            assert got
        toy_run(folder, stage={"schedule": SCHEDULE}, trainer={"max_steps": 9})
    finally:
        os.kill(child, 9)
    assert not (folder / ".lock").exists()


def test_damaged_metrics_are_survived_by_report_and_resume(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines()
    cells = lines[4].split(",")
    hurt = [
        *lines[:4],
        lines[4] + lines[5],  # two writers in one line
        ",".join(["x", *cells[1:]]),
        *lines[3:6],  # doubled
        "\0\0\0",
        *lines[6:],
    ]
    (folder / "metrics.csv").write_text("\n".join(hurt) + "\n")
    assert write_report(folder).exists()
    assert "metrics.csv: 4 of 12 rows left out" in caplog.text
    caplog.clear()
    toy_run(folder, stage={"schedule": SCHEDULE}, trainer={"max_steps": 10})
    assert [row["step"] for row in rows(folder)] == list(range(10))
    assert (folder / "metrics.csv.damaged").read_text().startswith(lines[0])
    with open(folder / "metrics.csv") as file:
        assert len(list(csv.DictReader(file))) == 10


def test_a_monitor_that_nobody_logs_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint\.monitor=val/los: ToyStage logs nothing .* mean val/loss\?"):
        toy_run(tmp_path / "run", checkpoint={"monitor": "val/los"})
    assert not (tmp_path / "run").exists()
    run = toy_run(tmp_path / "run", checkpoint={"monitor": None})
    assert not (run / "checkpoints" / "best.ckpt").exists()


def test_a_figure_that_does_not_come_is_said(tmp_path: Path, caplog, monkeypatch) -> None:
    """A stage's own list may promise what a run without the option does not log."""
    monkeypatch.setattr(toy.ToyStage, "figures", lambda self: ("val/fgd",))
    run = toy_run(tmp_path / "run", checkpoint={"monitor": "val/fgd"})
    assert "checkpoint.monitor=val/fgd: nothing of that name is logged" in caplog.text
    assert "val/loss" in caplog.text
    assert not (run / "checkpoints" / "best.ckpt").exists()
