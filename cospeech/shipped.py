"""Files that are shipped with the code: presets (configs/) and SLURM scripts (slurm/)."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
"""The checkout, or the site-packages that cospeech is installed in."""


def is_checkout() -> bool:
    """Whether the code is a checkout, not an installed wheel."""
    return (ROOT / "pyproject.toml").is_file()


def folder(name: str) -> Path:
    """The folder of shipped files, "configs" or "slurm": of the checkout, or inside the installed package."""
    return (ROOT if is_checkout() else ROOT / "cospeech") / name


def presets() -> list[str]:
    """Short names of all training presets, such as mmgt/smga/tiny."""
    configs = folder("configs")
    found = (path.relative_to(configs).with_suffix("") for path in configs.glob("*/*/*.yaml"))
    return sorted(str(path) for path in found)


def find(path: Path) -> Path:
    """Where a config file is: where its name says; else the shipped one of that name.

    `configs/mmgt/smga/tiny.yaml`, `mmgt/smga/tiny.yaml` and `mmgt/smga/tiny` all name a preset. A path that names
    neither comes back as it is.
    """
    if path.is_absolute() or path.is_file():
        return path
    parts = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
    name = Path(*parts)
    for candidate in (name, name.with_name(f"{name.name}.yaml") if parts else name):
        shipped = folder("configs") / candidate
        if parts and shipped.suffix == ".yaml" and shipped.is_file() and shipped.resolve().is_relative_to(ROOT):
            return _short(shipped)
    return path


def _short(path: Path) -> Path:
    """Relative to the current folder where it lies in it, for messages."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def environment() -> dict[str, str]:
    """Environment in which `python -m trainers.fit` and the like run this code, whatever the current folder holds.

    The current folder is not searched for modules, so that somebody's own `models/` there is not taken for ours.
    """
    given = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, [str(ROOT) if is_checkout() else None, given]))
    return os.environ | {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": path} if path else {})
