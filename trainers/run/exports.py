"""Finding a trained network again: from a run folder, a saved network, or the hub."""

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from settings import ConfigError, get_logger
from trainers.run.folder import replace_folder
from trainers.run.model_card import CARD, write_card
from trainers.stages import STAGES

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
_BLOCK: Final = 1 << 20
Network = TypeVar("Network")
logger = get_logger(__name__)


@dataclass(frozen=True)
class Export:
    """A saved network and what is known of it.

    Attributes:
        folder: holds `config.json` and `model.safetensors`.
        name: what people call it: the run's folder name or the hub name.
        stage: registered name of the stage that trained it.
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


def find_export(run: str | Path) -> Export:
    """The saved network of a run folder, of an export folder, or of a hub name.

    The stage is read from the run's `config.yaml`; a network that came alone says it in the tags of its model card
    (`README.md`, which every network writes beside its weights).

    Args:
        run: a run folder, an export folder, or a hub name like `owner/name`.

    Raises:
        ConfigError: nothing there, nothing exported yet, or a network of no known stage.
    """
    path = Path(run)
    if path.is_dir():
        return _from_folder(path)
    if path.exists():
        raise ConfigError(f"run={run} is a file; give a run folder, its export/ folder or a hub name (owner/name)")
    if str(run).count("/") == 1 and not str(run).startswith((".", "/", "~")):
        return _from_hub(str(run))
    raise ConfigError(f"run={run}: no such folder; give a run folder, its export/ folder or a hub name (owner/name)")


def check_steps(export: Export, steps: int | None) -> None:
    """Raises ConfigError for more denoising steps than the network was trained with."""
    trained = json.loads((export.folder / CONFIG).read_text()).get("train_steps")
    if steps is not None and trained is not None and steps > trained:
        raise ConfigError(
            f"steps={steps}: {export.name} was trained with {trained} diffusion steps; give 1 to {trained}"
        )


def load_network(network: type[Network], export: Export) -> Network:
    """The trained network, ready for use.

    Args:
        network: its class, with `from_pretrained`.
        export: where it is saved.

    Raises:
        ConfigError: a damaged file, or one that another version of the class wrote.
    """
    from safetensors import SafetensorError

    try:
        # The mixin prints a line of its own to standard output, which belongs to the command's results.
        with contextlib.redirect_stdout(io.StringIO()):
            return network.from_pretrained(export.folder, strict=True).eval()  # type: ignore[attr-defined]
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        said = str(error).strip().splitlines()
        raise ConfigError(
            f"{export.folder} does not hold a {network.__name__} that this version can read "
            f"({type(error).__name__}: {' '.join(said[:2])[:200]}); copy or export it again"
        ) from None


def write_export(network: Any, folder: Path, settings: Mapping[str, Any], run: Path | None = None) -> Path:
    """Write `config.json`, `model.safetensors` and a model card in the place of what stood there; all or nothing.

    Args:
        network: what is saved.
        folder: where.
        settings: the run's config, for the card.
        run: the run folder, for the card.
    """
    with replace_folder(folder) as temporary:
        if (folder / CARD).is_file():  # for the licence that somebody has given
            shutil.copy(folder / CARD, temporary / CARD)
        network.save_pretrained(temporary)
        write_card(network, temporary, settings, run)
        for file in temporary.iterdir():
            # Some are written for their owner alone; the folder's rights say who may read the run.
            file.chmod(0o666 & temporary.stat().st_mode)
    logger.info("exported %s", folder)
    return folder


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _from_folder(path: Path) -> Export:
    if _is_export(path):
        beside = path.parent if (path.parent / "config.yaml").is_file() else None
        return _describe(path, beside, beside.resolve().name if beside else path.resolve().name)
    folder = path / "export"
    if _is_export(folder):
        return _describe(folder, path, path.resolve().name)
    if (path / "config.yaml").is_file():
        raise ConfigError(
            f"{path} has no export yet ({folder / WEIGHTS} is missing): let training end, or take a checkpoint "
            f"with `python -m trainers.export --run {path}`"
        )
    raise ConfigError(f"{path} is neither a run folder nor an export: it has no export/ and no {CONFIG} with {WEIGHTS}")


def _from_hub(name: str) -> Export:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, "README.md"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"run={name}: no such folder here, and the hub does not give it ({reason})") from None
    if not _is_export(folder):
        raise ConfigError(f"run={name}: the hub's repository has no {CONFIG} with {WEIGHTS}")
    return _describe(folder, None, name)


def _is_export(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def _describe(folder: Path, run: Path | None, name: str) -> Export:
    settings = _settings(run) if run else {}
    stage = settings.get("stage", {}).get("name") or _tagged(folder)
    if stage not in STAGES.names():
        raise ConfigError(
            f"{folder}: cannot tell which stage trained this network (found {stage!r}); give the whole run folder, or "
            f"put one of these into the tags of its README.md: {', '.join(STAGES.names())}"
        )
    return Export(folder, name, stage, file_hash(folder / WEIGHTS), run, settings)


def _settings(run: Path) -> dict[str, Any]:
    path = run / "config.yaml"
    if not path.is_file():
        return {}
    try:
        settings = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML that can be read ({error})") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("stage", {}), dict):
        raise ConfigError(f"{path} is not the config of a run")
    return settings


def _tagged(folder: Path) -> str | None:
    """The stage that a model card names among its tags; None where there is none."""
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    if not card.is_file():
        return None
    try:
        tags = ModelCard.load(card, ignore_metadata_errors=True).data.tags or []
    except (ValueError, yaml.YAMLError):
        return None
    return next((tag for tag in tags if tag in STAGES.names()), None)
