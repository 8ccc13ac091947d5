"""A copy of the code as it is now, so that what is edited while jobs wait or run does not change them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from settings import ConfigError

STATE_FILE = ".snapshot"
"""In the copy: the commit, `+ changes` where files differ from it."""


@dataclass(frozen=True)
class State:
    """What a checkout holds.

    Args:
        commit: its hash.
        changed: files that git follows and that differ from the commit.
        untracked: files that git neither follows nor ignores.
    """

    commit: str
    changed: list[str]
    untracked: list[str]

    def line(self) -> str:
        """The commit, `+ changes` where files differ from it."""
        return self.commit + (" + changes" if self.changed else "")

    def text(self) -> str:
        """All of it, for a person."""
        return "".join(
            [
                f"commit: {self.commit}\n",
                f"uncommitted changes, copied (code.patch): {', '.join(self.changed) or 'none'}\n",
                f"files unknown to git, not copied: {', '.join(self.untracked) or 'none'}\n",
            ]
        )


def state(root: Path) -> State:
    """What the checkout at `root` holds.

    Raises:
        ConfigError: it is no checkout, or git does not want to speak of it.
    """
    commit = _git(root, "rev-parse", "HEAD").strip()
    changed = _names(root, "diff", "--name-only", "--relative", "-z", "HEAD")
    untracked = _names(root, "ls-files", "--others", "--exclude-standard", "-z")
    return State(commit, changed, untracked)


def take(root: Path, into: Path) -> State:
    """Copy the files that git follows, as they are in the working tree.

    Args:
        root: the checkout.
        into: a folder that does not exist; `code.txt` and `code.patch` are written beside it.

    Returns:
        What was copied.

    Raises:
        ConfigError: `root` is no checkout.
    """
    found = state(root)
    into.mkdir(parents=True)
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


def _names(root: Path, *words: str) -> list[str]:
    return sorted(set(filter(None, _git(root, *words).split("\0"))))


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, timeout=60, encoding="utf-8", errors="surrogateescape"
        )
    except FileNotFoundError:
        raise ConfigError("git is not installed; the launcher needs it to copy the code") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it does not say why"]
        raise ConfigError(f"the code at {root} cannot be copied, git refuses: {said[0]}")
    return done.stdout
