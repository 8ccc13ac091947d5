"""The code that jobs run: a copy of the working tree, or of a wheel's packages, and the script that runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cospeech import __version__
from cospeech.names import PACKAGES
from settings import ConfigError
from trainers.launching.snapshot import take

ROOT = Path(__file__).resolve().parents[2]


def test_copy_of_the_code_is_that_of_the_working_tree(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=checkout, check=True)

    git("init", "--quiet")
    for name in ("kept.py", "changed.py", "deleted.py"):
        (checkout / name).write_text("old\n")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    assert not take(checkout, tmp_path / "clean" / "code").changed
    (checkout / "changed.py").write_text("new\n")
    (checkout / "deleted.py").unlink()
    (checkout / "unknown.py").write_text("mine\n")
    state = take(checkout, tmp_path / "into" / "code")
    into = tmp_path / "into"
    assert sorted(path.name for path in (into / "code").iterdir()) == [".snapshot", "changed.py", "kept.py"]
    assert (into / "code" / "changed.py").read_text() == "new\n"
    assert state.untracked == ["unknown.py"]
    assert "changed.py, deleted.py" in (into / "code.txt").read_text()
    assert (into / "code" / ".snapshot").read_text() == f"{state.commit} + changes\n"
    assert "+new" in (into / "code.patch").read_text()


def test_code_that_git_does_not_speak_of_cannot_be_copied(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere")
    with pytest.raises(ConfigError, match=r"git refuses: .*not a git repository"):
        take(tmp_path, tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("inside", ["a wheel", "a wheel in another project", "an unpacked archive", "without git"])
def test_code_without_git_is_copied_by_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    root = tmp_path / "project" / "site"
    for name in ("cospeech", *PACKAGES, "numpy", "configs", "slurm", "tests"):
        (root / name / "__pycache__").mkdir(parents=True)
        (root / name / "code.py").write_text(name)
    if inside == "a wheel in another project":
        subprocess.run(["git", "init", "--quiet"], cwd=root.parent, check=True)
        (root.parent / "theirs.py").write_text("")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "add", "theirs.py"], cwd=root.parent, check=True)
        subprocess.run([*git, "commit", "--quiet", "--message=theirs"], cwd=root.parent, check=True)
    elif inside == "an unpacked archive":
        (root / "pyproject.toml").write_text("")
    elif inside == "without git":
        (root / ".git").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path))
    state = take(root, tmp_path / "out" / "code")
    assert state.line() == f"cospeech {__version__}, not under git"
    beside = {"configs", "slurm", "pyproject.toml"} if inside == "an unpacked archive" else set()
    assert {path.name for path in (tmp_path / "out" / "code").iterdir()} == {
        "cospeech", *PACKAGES, *beside, ".snapshot",
    }  # fmt: skip
    assert not list((tmp_path / "out").rglob("__pycache__"))
    assert (tmp_path / "out" / "code.txt").read_text().startswith(f"version: cospeech {__version__}")


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["data.shards=x"], {}, "give run=FOLDER"),
        (["run=x"], {"SLURM_GPUS_ON_NODE": "8", "SLURM_NTASKS_PER_NODE": "2"}, "set --ntasks-per-node=8"),
    ],
)
def test_script_by_hand_says_what_is_missing(
    tmp_path: Path, words: list[str], environment: dict[str, str], message: str
) -> None:
    script = ROOT / "slurm" / "fit.sbatch"
    done = subprocess.run(
        ["bash", str(script), *words], cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_run_from_a_copy_names_the_commit_of_the_copy(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for name in ("cospeech", *PACKAGES):
        shutil.copytree(ROOT / name, code / name)
    (code / ".snapshot").write_text("abc123 + changes\n")
    program = "from trainers.run.folder import environment; print(environment())"
    done = subprocess.run([sys.executable, "-c", program], cwd=code, capture_output=True, text=True, check=True)
    assert "code: abc123 + changes\n" in done.stdout
