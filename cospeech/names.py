"""Other packages of the same names: `models`, `trainers` and the like are common words."""

import importlib.util
import sys
from pathlib import Path
from typing import Final

from cospeech.shipped import ROOT

PACKAGES: Final = ("settings", "reports", "models", "datamodules", "pretrained", "preprocessing", "metrics", "trainers")


def clash() -> str | None:
    """What hides one of cospeech's packages, and what to do, in one line; None where nothing does."""
    for name in PACKAGES:
        found = _folder_of(name)
        if found is None or found.resolve() == (ROOT / name).resolve():
            continue
        here = found.resolve().parent == Path.cwd()
        cure = (
            "start the command as `cospeech ...`, which does not look there, or from another folder"
            if here and not sys.flags.safe_path
            else "rename it, or take its folder out of PYTHONPATH or sys.path"
        )
        return f"'{found}' hides the package '{name}' of cospeech ({ROOT / name}): {cure}"
    return None


def check() -> None:
    """End the process with one line where another package hides one of ours; called before any of them is imported.

    Only for commands (`python -m ...`): an import in somebody's program fails with an ImportError that says the same.

    Raises:
        ImportError: imported, not started as a command.
    """
    problem = clash()
    if problem is None:
        return
    if _is_command():
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(problem)


def _is_command() -> bool:
    # `python -m package.module` has "-m" here until the module is found.
    return sys.argv[:1] == ["-m"]


def _folder_of(name: str) -> Path | None:
    """The folder that `import name` would take or has taken."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        # A folder without __init__.py is taken only where there is nothing better.
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin else None
