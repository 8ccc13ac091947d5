"""The page that tells how a stage is added, followed as it is written."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from tests.shards import write_shards
from trainers.tracking.metrics_csv import read_metrics

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "adding_a_stage.md"
ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["root_packages"]
BLOCK = re.compile(r"^ +`([\w/.]+)`\n\n( +)```(python|yaml|diff)\n(.*?)^ +```$", re.MULTILINE | re.DOTALL)


def follow(house: Path) -> list[str]:
    """Do what the page says; the files that were there before and were changed."""
    changed = []
    for name, _, kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        path, text = house / name, textwrap.dedent(text)
        if kind != "diff":
            assert not path.exists(), f"{name} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        changed.append(name)
        old = path.read_text(encoding="utf-8")
        added, gone, *instead = text.splitlines()
        added = added.removeprefix("+")
        assert old.count(gone[1:]) == 1, f"{name} has no line {gone[1:]}"  # the others stand in its place
        old = old.replace(gone[1:], "\n".join(line.removeprefix("+") for line in instead))
        after = next(line for line in old.splitlines() if line.startswith("from trainers.") and line > added)
        old = old.replace(after, f"{added}\n{after}", 1)
        path.write_text(old, encoding="utf-8")
    return changed


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A copy of the tree in which the page was followed."""
    folder = tmp_path_factory.mktemp("house")
    for room in (*ROOMS, "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, folder / room, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    if (ROOT / ".mypy_cache").is_dir():  # what is known of the files that stay as they are
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    return folder


def run(house: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment |= {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_page_is_followed_as_it_is_written(house, tmp_path):
    assert follow(house) == ["trainers/stages.py"]
    splits = ("train", "train", "val")
    write_shards(tmp_path / "shards", clips=6, seconds=3.0, keys=("pose.npz", "audio.flac"), splits=splits)
    trained = run(
        house, "trainers.fit", "--config", "configs/denoising/poses/tiny.yaml", f"data.shards={tmp_path / 'shards'}",
        f"run={tmp_path / 'run'}",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert losses[-1] < losses[0]
    assert list((tmp_path / "run" / "samples").iterdir())
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()
    shown = run(house, "trainers.fit", "--config", "configs/denoising/poses/tiny.yaml", "--help")
    assert "stage.network.width" in shown.stdout
    for tool in (["mypy", "models/denoising", "trainers/denoising", "trainers/stages.py"], ["ruff", "check", "."]):
        checked = run(house, *tool)
        assert checked.returncode == 0, checked.stdout + checked.stderr
