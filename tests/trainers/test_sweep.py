"""Sweep files name keys that the training config has, and start the training command."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from settings import check, command
from settings.load import load
from trainers.fit import fit

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


def candidates(parameter: dict[str, Any]) -> list[Any]:
    """Values that a sweep may choose: all that are listed, or both ends of a range."""
    if "value" in parameter:
        return [parameter["value"]]
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def at(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def agent_command(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """The words with which W&B's agent starts a run."""
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    macros["env"] = ["/usr/bin/env"]
    words: list[str] = []
    for word in create_sweep_command(list(sweep["command"])):
        words += macros[word[2:-1]] if re.fullmatch(r"\$\{\w+\}", word) else [word]
    return words


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start a sweep's run with a `python` that only tells its words."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)

    def start(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
        env = {"PATH": f"{python.parent}:{os.environ['PATH']}", "WANDB_RUN_ID": "abc123", "SHARDS": "my shards/*.tar"}
        done = subprocess.run(
            agent_command(sweep, chosen), cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return start


def test_there_is_an_example() -> None:
    assert SWEEPS


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_parameter_is_a_key_and_every_value_of_it_valid(file: Path, started: Any) -> None:
    sweep = yaml.safe_load(file.read_text())
    parameters = sweep["parameters"]
    first = {name: candidates(parameter)[0] for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for value in candidates(parameter):
            module, fit_module, *words = started(sweep, first | {name: value})
            assert (module, fit_module) == ("-m", "trainers.fit")
            config = words[words.index("--config") + 1]
            overrides = [word for word in words if word not in ("--config", config)]
            values, origins = load(ROOT / config, overrides, fit)
            assert at(check(values, fit, config, origins), name) == value


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_runs_of_a_sweep_are_told_apart_and_go_to_wandb(
    file: Path, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = yaml.safe_load(file.read_text())
    words = started(sweep, {name: candidates(parameter)[0] for name, parameter in sweep["parameters"].items()})[2:]
    monkeypatch.chdir(ROOT)
    values = command(fit, words, prog="fit")
    assert values["run"].endswith("/abc123")
    assert values["wandb"]["mode"] == "online"
    assert values["data"]["shards"] == "my shards/*.tar"
    assert sweep["metric"] == {"name": values["checkpoint"]["monitor"], "goal": "minimize"}
    assert values["checkpoint"]["mode"] == "min"


def test_a_parameter_that_is_no_key_is_refused(started: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = yaml.safe_load(SWEEPS[0].read_text())
    words = started(sweep, {"stage.optimizer.learning_rate": 1})[2:]
    with pytest.raises(SystemExit):
        command(fit, words, prog="fit")
    assert "stage.optimizer.learning_rate" in capsys.readouterr().err
