"""A copy of the code as it is now, so that what is edited while jobs wait or run does not change them."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cospeech import __version__
from cospeech.names import PACKAGES
from settings import ConfigError

STATE_FILE = ".snapshot"
"""In the copy: the commit, `+ changes` where files differ from it; the version where there is no git."""

_BESIDE: Final = ("configs", "slurm", "pyproject.toml")  # beside the packages in a checkout, inside them in a wheel
_MADE: Final = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True)
class State:
    """What a checkout, or an installed package, holds.

    Args:
        commit: its hash; None where git does not follow the code.
        changed: files that git follows and that differ from the commit.
        untracked: files that git neither follows nor ignores.
    """

    commit: str | None
    changed: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The commit, `+ changes` where files differ from it; without git the version."""
        if self.commit is None:
            return f"cospeech {__version__}, not under git"
        return self.commit + (" + changes" if self.changed else "")

    def text(self) -> str:
        """All of it, for a person."""
        if self.commit is None:
            return f"version: {self.line()}; all files of its packages, copied\n"
        return "".join(
            [
                f"commit: {self.commit}\n",
                f"uncommitted changes, copied (code.patch): {', '.join(self.changed) or 'none'}\n",
                f"files unknown to git, not copied: {', '.join(self.untracked) or 'none'}\n",
            ]
        )


def state(root: Path) -> State:
    """What the code at `root` holds.

    Raises:
        ConfigError: git does not want to speak of it.
    """
    if not _is_followed(root):
        return State(None)
    commit = _git(root, "rev-parse", "HEAD").strip()
    changed = _names(root, "diff", "--name-only", "--relative", "-z", "HEAD")
    untracked = _names(root, "ls-files", "--others", "--exclude-standard", "-z")
    return State(commit, changed, untracked)


def take(root: Path, into: Path) -> State:
    """Copy the code as it is in the working tree: the files that git follows, or all packages where there is no git.

    Args:
        root: the checkout, or the folder that the packages are installed in.
        into: a folder that does not exist; `code.txt` and `code.patch` are written beside it.

    Returns:
        What was copied.

    Raises:
        ConfigError: git does not want to speak of the checkout.
    """
    found = state(root)
    into.mkdir(parents=True)
    if found.commit is None:
        for name in ("cospeech", *PACKAGES, *(_BESIDE if (root / "pyproject.toml").is_file() else ())):
            if (root / name).is_dir():
                shutil.copytree(root / name, into / name, ignore=_MADE)
            elif (root / name).is_file():
                shutil.copy2(root / name, into / name)
    else:
        for name in _names(root, "ls-files", "-z"):
            source, target = root / name, into / name
            if source.is_symlink() or source.is_file():  # neither one that was deleted nor a submodule
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
    (into / STATE_FILE).write_text(found.line() + "\n")
    (into.parent / "code.txt").write_text(found.text())
    if found.changed:
        patch = _git(root, "diff", "--relative", "--binary", "HEAD")
        (into.parent / "code.patch").write_text(patch, encoding="utf-8", errors="surrogateescape")
    return found


def _is_followed(root: Path) -> bool:
    """Whether the code is git's: a wheel may be installed inside somebody else's checkout."""
    if shutil.which("git") is None or not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return False
    return bool(_names(root, "ls-files", "-z"))


def _names(root: Path, *words: str) -> list[str]:
    return sorted(set(filter(None, _git(root, *words).split("\0"))))


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=root, capture_output=True, timeout=60, encoding="utf-8", errors="surrogateescape"
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        raise ConfigError(f"the code at {root} cannot be copied, git refuses: {lines[0]}")
    return done.stdout
