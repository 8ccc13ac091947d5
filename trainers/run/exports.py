"""The saved network of a run: written, and found again by all who know the stages."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.saved import CONFIG
from pretrained.exports import CARD, Export, find
from settings import ConfigError, get_logger
from trainers.run.folder import replace_folder
from trainers.run.model_card import write_card
from trainers.stages import STAGES

logger = get_logger(__name__)


def find_export(run: str | Path) -> Export:
    """The saved network of a run folder, of an export folder, or of a hub name, trained by one of the stages.

    Raises:
        ConfigError: nothing there, nothing exported yet, or a network of no known stage.
    """
    return find(run, stages=STAGES.names())


def stage_of(run: Any) -> str | None:
    """The stage of a run, export or hub name; None where none is given or found, which the command then says itself."""
    try:
        return None if run is None else find_export(str(run)).stage
    except ConfigError:
        return None


def check_steps(export: Export, steps: int | None) -> None:
    """Raises ConfigError for more denoising steps than the network was trained with."""
    trained = json.loads((export.folder / CONFIG).read_text()).get("train_steps")
    if steps is not None and trained is not None and steps > trained:
        raise ConfigError(
            f"steps={steps}: {export.name} was trained with {trained} diffusion steps; give 1 to {trained}"
        )


def rebuilt(values: Mapping[str, Any]) -> Any:
    """The stage of a run's config as it was before training: what no checkpoint holds is made again.

    Weights that are neither trained nor found elsewhere come from the run's seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(values["seed"])
        return STAGES.build(dict(values["stage"]))


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
