"""Networks that this project trained: where they are, what is known of them, and the networks themselves."""

import contextlib
import io
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
import yaml

from models.saved import CONFIG, WEIGHTS, folder_of
from pretrained.frozen import freeze
from pretrained.hub import HubError, snapshot
from settings import ConfigError
from settings.hashes import file_hash

CARD: Final = "README.md"
_STAGE: Final = re.compile(r"[a-z_]+\.[a-z_]+")
Network = TypeVar("Network")
Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Export:
    """A saved network and what is known of it.

    Attributes:
        folder: holds `config.json` and `model.safetensors`.
        name: what people call it: the run's folder name or the hub name.
        stage: name of the stage that trained it; empty where nothing says it.
        sha256: of the weights.
        run: the run folder, None for a network that came alone.
        settings: the run's `config.yaml`, empty for a network that came alone.
    """

    folder: Path
    name: str
    stage: str
    sha256: str
    run: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, str]:
        """Name, stage and hash, for what is made with it."""
        return {"name": self.name, "stage": self.stage, "sha256": self.sha256}


def find(name: str | Path, option: str = "run", stages: Collection[str] = ()) -> Export:
    """The saved network of a run folder, of an export folder, or of a hub name.

    The stage is read from the run's `config.yaml`; a network that came alone says it in the tags of its model card
    (`README.md`, which every network writes beside its weights).

    Args:
        name: a run folder, an export folder, or a hub name like `owner/name`.
        option: that says where it is, for messages.
        stages: those that are known; one of them has to have trained it. Where none are given any will do, or none.

    Raises:
        ConfigError: nothing there, nothing exported yet, or a network of no known stage.
    """
    try:
        folder = folder_of(name)
    except FileNotFoundError as error:
        raise ConfigError(f"{option}={error}") from None
    if folder is None:
        try:
            folder = snapshot(str(name), [CONFIG, WEIGHTS, CARD])
        except HubError as error:
            raise ConfigError(f"{option}={name}: no such folder here, and the hub does not give it ({error})") from None
        if not ((folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()):
            raise ConfigError(f"{option}={name}: the hub's repository has no {CONFIG} with {WEIGHTS}")
        return _describe(folder, None, str(name), stages)
    run = folder.parent if (folder.parent / "config.yaml").is_file() else None
    return _describe(folder, run, (run or folder).resolve().name, stages)


def find_stage(name: str, option: str, *stages: str) -> Export:
    """The saved network that a stage builds on.

    Args:
        name: a run folder, an export folder, or a hub name.
        option: of the stage that says where it is, for messages.
        stages: one of which has to have trained it.

    Raises:
        ConfigError: nothing there, or a network of another stage.
    """
    export = find(name, f"stage.{option}")
    if export.stage not in stages:
        raise ConfigError(
            f"stage.{option}: {name} is a network of {export.stage or 'no known stage'}; one of {stages[0]} is needed"
        )
    return export


def load_network(network: type[Network], export: Export) -> Network:
    """The trained network, ready for use.

    Args:
        network: its class, with `from_pretrained`.
        export: where it is saved.

    Raises:
        ConfigError: a damaged file, or one that another version of the class wrote.
    """
    try:
        return _load(network, export)
    except _Unreadable as error:
        raise ConfigError(
            f"{export.folder} does not hold a {network.__name__} that this version can read ({error}); copy or export "
            "it again"
        ) from None


def load_frozen(kind: type[Module], option: str, where: str, what: str) -> tuple[Module, str]:
    """A network to measure or to make features with, frozen, and the SHA-256 of its weights.

    Args:
        kind: its class, with `from_pretrained`.
        option: name of the option that says where it is, for messages.
        where: a run folder, a saved network (export/) or a hub name.
        what: what it is, in words.

    Raises:
        ConfigError: no network there, or another one.
    """
    export = find(where, option)
    try:
        return freeze(_load(kind, export)), export.sha256
    except _Unreadable as error:
        raise ConfigError(f"{option}={where} does not hold {what} ({error})") from None


class _Unreadable(Exception):
    """What a file that is no such network says when it is read, in one line."""


def _load(network: type[Network], export: Export) -> Network:
    from safetensors import SafetensorError

    try:
        # The mixin prints a line of its own to standard output, which belongs to the command's results.
        with contextlib.redirect_stdout(io.StringIO()):
            return network.from_pretrained(export.folder, strict=True).eval()  # type: ignore[attr-defined]
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(" ".join(str(error).strip().splitlines()[:2]).split())[:200]
        raise _Unreadable(f"{type(error).__name__}: {reason}") from None


def _describe(folder: Path, run: Path | None, name: str, stages: Collection[str]) -> Export:
    settings = _settings(run) if run else {}
    stage = settings.get("stage", {}).get("name") or _tagged(folder, stages)
    if stages and stage not in stages:
        raise ConfigError(
            f"{folder}: cannot tell which stage trained this network (found {stage!r}); give the whole run folder, or "
            f"put one of these into the tags of its README.md: {', '.join(stages)}"
        )
    return Export(folder, name, stage or "", file_hash(folder / WEIGHTS), run, settings)


def _settings(run: Path) -> dict[str, Any]:
    path = run / "config.yaml"
    try:
        settings = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML that can be read ({error})") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("stage", {}), dict):
        raise ConfigError(f"{path} is not the config of a run")
    return settings


def _tagged(folder: Path, stages: Collection[str]) -> str | None:
    """The stage that a model card names among its tags; None where there is none."""
    from huggingface_hub import ModelCard

    card = folder / CARD
    if not card.is_file():
        return None
    try:
        tags = ModelCard.load(card, ignore_metadata_errors=True).data.tags or []
    except (ValueError, yaml.YAMLError):
        return None
    return next((tag for tag in tags if (tag in stages if stages else _STAGE.fullmatch(tag))), None)
