"""The dashboard shows what runs log."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from settings import ConfigError
from tests.trainers import wandb_files
from tests.trainers.wandb_files import logged_run
from trainers.dashboard import SPEED, dashboard, main
from trainers.tracking.metrics_csv import read_metrics
from trainers.tracking.wandb_run import AXIS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return logged_run(
        tmp_path_factory.mktemp("dashboard") / "run",
        wandb={"project": "gestures"},
        samples={"count": 1, "height": 32},
    )


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "NETRC", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def sections(**options: Any) -> dict[str, list[dict[str, Any]]]:
    """Section to the settings of its panels, as W&B would get them."""
    view = json.loads(dashboard(dry_run=True, **options))
    bank = view["spec"]["section"]["panelBankConfig"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in bank["sections"]}


def shown(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    return [name for panels in found.values() for panel in panels for name in panel.get("metrics", [])]


def add_columns(folder: Path, *names: str) -> None:
    """Figures of other stages and devices, as metrics.csv has them."""
    header, *lines = (folder / "metrics.csv").read_text().splitlines()
    lines = [line + ",0.5" * len(names) for line in lines]
    (folder / "metrics.csv").write_text("\n".join([",".join([header, *names]), *lines, ""]))


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir()
    for name in ("config.yaml", "metrics.csv"):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def test_every_figure_of_a_run_is_shown_once_and_no_other(folder: Path) -> None:
    found = sections(run=folder)
    logged = {name for row in read_metrics(folder / "metrics.csv") for name in row} - {"step", "epoch"}
    assert sorted(shown(found)) == sorted(logged)
    assert {"train/loss", "val/loss", "train/lr", "train/grad_norm", "data/bad_samples"} < logged
    assert {name for name in logged if name.startswith("speed/")} <= set(SPEED)


def test_samples_and_the_axis_are_what_wandb_gets(folder: Path) -> None:
    (samples,) = sections(run=folder)["Samples"]
    rows = wandb_files.rows(folder)
    assert samples["mediaKeys"] == ["samples"]
    assert any("samples" in row for row in rows)
    panels = [panel for panels in sections(run=folder).values() for panel in panels if "metrics" in panel]
    assert {panel["xAxis"] for panel in panels} == {AXIS}
    assert all(AXIS in row for row in rows)


def test_parts_of_a_loss_get_a_panel_each_training_beside_validation(folder: Path, tmp_path: Path) -> None:
    run = copy_of(folder, tmp_path / "run")
    add_columns(run, "train/loss_face", "train/loss_body", "val/loss_face", "train/lr_1", "val/fgd")
    found = sections(run=run)
    assert [panel["metrics"] for panel in found["Losses"]] == [
        ["train/loss", "val/loss"],
        ["val/fgd"],
        ["train/loss_body"],
        ["train/loss_face", "val/loss_face"],
    ]
    assert ["train/lr", "train/lr_1"] in [panel["metrics"] for panel in found["Optimisation"]]


def test_figures_of_a_gpu_and_new_ones_are_shown(folder: Path, tmp_path: Path) -> None:
    assert "speed/mfu" not in shown(sections(run=folder))
    run = copy_of(folder, tmp_path / "run")
    add_columns(run, "speed/mfu", "speed/network_gb")
    panels = {panel["metrics"][0]: panel["chartTitle"] for panel in sections(run=run)["Speed"]}
    assert panels["speed/mfu"] == SPEED["speed/mfu"]
    assert panels["speed/network_gb"] == "speed/network_gb"


def test_without_a_run_it_shows_what_the_code_logs(folder: Path) -> None:
    found = sections(project="gestures")
    logged = {name for row in read_metrics(folder / "metrics.csv") for name in row}
    source = (ROOT / "trainers" / "callbacks" / "throughput.py").read_text()
    assert [name for name in shown(found) if name not in logged and f'"{name}"' not in source] == []
    patterns = {
        panel["chartTitle"]: panel["metricRegex"]
        for panels in found.values()
        for panel in panels
        if "metricRegex" in panel
    }
    parts = [name for name in ("train/loss_face", "val/loss_vel", "train/loss", "train/lr", "speed/mfu")
             if re.search(patterns["Parts of the loss"], name)]  # fmt: skip
    assert parts == ["train/loss_face", "val/loss_vel"]
    rates = [name for name in ("train/lr", "train/lr_1", "train/loss") if re.search(patterns["Learning rate"], name)]
    assert rates == ["train/lr", "train/lr_1"]


@pytest.mark.usefixtures("no_account")
def test_without_an_account_it_can_be_written_but_not_saved(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run", str(folder)]) == 2
    assert "wandb login" in capsys.readouterr().err
    file = tmp_path / "dashboard.json"
    assert main(["--run", str(folder), f"out={file}", "entity=us", "name=Mine"]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    view = json.loads(file.read_text())
    assert (view["project"], view["entity"], view["displayName"]) == ("gestures", "us", "Mine")


@pytest.mark.parametrize(("entity", "of"), [(None, "me"), ("us", "us")])
def test_it_is_saved_to_the_account(folder: Path, monkeypatch: pytest.MonkeyPatch, entity: str | None, of: str) -> None:
    saved = []

    def upsert(view: Any) -> dict[str, Any]:
        saved.append(view)
        return {"upsertView": {"view": {"id": "1", "name": view.name}}}

    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(default_entity="me"))
    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", upsert)
    monkeypatch.setattr("wandb_workspaces.workspaces.interface.get_app_url", lambda api: "https://wandb.example")
    address = dashboard(run=folder, entity=entity)
    assert address.startswith(f"https://wandb.example/{of}/gestures?nw=")
    assert [(view.entity, view.project) for view in saved] == [(of, "gestures")]


def test_a_server_that_refuses_is_an_error_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise RuntimeError("permission\ndenied")

    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    monkeypatch.setattr("wandb.Api", refuse)
    assert main(["--run", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "permission denied" in line
    assert "out=dashboard.json" in line


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--run RUN, or project=NAME"):
        dashboard(dry_run=True)
    with pytest.raises(ConfigError, match="is no run folder"):
        dashboard(run=tmp_path, dry_run=True)
    young = copy_of(folder, tmp_path / "young")
    (young / "metrics.csv").unlink()
    with pytest.raises(ConfigError, match="has no figures yet"):
        dashboard(run=young, dry_run=True)
    with pytest.raises(ConfigError, match="cannot be written"):
        dashboard(run=folder, out=tmp_path / "nowhere" / "dashboard.json")
