"""Installed from a checkout and from a wheel, into an environment that has the dependencies and nothing of ours."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cospeech.names import PACKAGES
from tests.shards import write_shards

ROOT = Path(__file__).resolve().parents[2]
QUICK = [
    "stage.network.width=16", "stage.network.layers=1", "stage.network.heads=2", "trainer.max_steps=2",
    "trainer.accelerator=cpu", "data.batch_size=2", "data.workers=0", "samples.count=0",
]  # fmt: skip


def _done(*words: str, cwd: Path, **more: str) -> str:
    hidden = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | more
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is built inside the checkout."""
    copy = tmp_path_factory.mktemp("checkout") / "cospeech"
    copy.mkdir()
    for name in ("cospeech", *PACKAGES, "configs", "slurm", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def _wheel(checkout: Path) -> Path:
    folder = checkout.parent / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    _done(*pip, "--wheel-dir", str(folder), str(checkout), cwd=folder.parent)
    return next(folder.glob("cospeech-*.whl"))


def _launches(cospeech: str, here: Path) -> None:
    """A chain is written with a copy of code that no git knows, and submitted to what stands for SLURM."""
    bin = here / "bin"
    bin.mkdir()
    (bin / "sbatch").write_text("#!/bin/sh\necho 7\n")
    (bin / "sbatch").chmod(0o755)
    words = ["preprocess=null", "stages.smga.overrides.data.shards=shards", "folder=launched"]
    said = _done(cospeech, "launch", "mmgt", *words, cwd=here, PATH=f"{bin}:{os.environ['PATH']}")
    version = _done(cospeech, "--version", cwd=here).split()[1]
    assert f"code: cospeech {version}, not under git\n" in said
    assert (here / "launched" / "jobs.txt").read_text() == "smga 7\n"
    # What the jobs will do: the code is taken from the copy, and names the version.
    program = "import trainers.run.folder as r; print(r.__file__); print(r.environment())"
    copied = {"PYTHONPATH": str(here / "launched" / "code"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [str(Path(cospeech).with_name("python")), "-c", program],
        cwd=here, env=os.environ | copied, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{here}/launched/code/trainers/")
    assert f"\ncode: cospeech {version}, not under git\n" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("source", ["wheel", "checkout", "editable"])
def test_installed_it_trains_from_an_empty_folder(source: str, checkout: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    _done(sys.executable, "-m", "venv", "--without-pip", str(home), cwd=tmp_path)
    what = {"wheel": lambda: [str(_wheel(checkout))], "checkout": lambda: [str(checkout)]}.get(
        source, lambda: ["--editable", str(checkout)]
    )()
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--no-deps", "--no-index"]
    built = {"PYTHONPATH": sysconfig.get_path("purelib")}  # what builds it
    _done(*pip, "--no-build-isolation", *what, cwd=tmp_path, **(built if source != "wheel" else {}))
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "reused.pth").write_text(sysconfig.get_path("purelib") + "\n")

    here = tmp_path / "elsewhere"
    (here / "models").mkdir(parents=True)  # somebody's own
    (here / "models" / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    cospeech = str(home / "bin" / "cospeech")
    assert _done(cospeech, "--version", cwd=here).split()[0] == "cospeech"
    presets = _done(cospeech, "configs", cwd=here)
    assert presets.count("\n") == len(list((ROOT / "configs").glob("*/*/*.yaml")))
    dry = _done(cospeech, "launch", "mmgt", "--print-config", cwd=here)
    assert "stages:" in dry
    write_shards(here / "shards", seconds=4.0)
    _launches(cospeech, here)
    words = ["fit", "--config", "configs/mmgt/smga/tiny.yaml", "data.shards=shards", "run=run", *QUICK]
    assert _done(cospeech, *words, cwd=here).endswith("run folder: run\n")
    assert (here / "run" / "export" / "model.safetensors").is_file()
    where = _done(str(home / "bin" / "python"), "-P", "-c", "import trainers; print(trainers.__file__)", cwd=here)
    assert Path(where.strip()).is_relative_to(checkout if source == "editable" else site)
    typed = [(Path(where.strip()).parents[1] / name / "py.typed").is_file() for name in PACKAGES]
    assert all(typed)
