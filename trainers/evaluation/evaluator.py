"""The pose autoencoder behind FGD and Diversity: given, kept from before, or trained now on the same shards."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.human.autoencoder import PoseAutoencoder
from settings import ConfigError, get_logger
from trainers.exports import Export, find_export, load_network

logger = get_logger(__name__)

STAGE = "human.pose_autoencoder"
_ROOT = Path(__file__).resolve().parents[2]
_CONFIGS = _ROOT / "configs" / "human" / "pose_autoencoder"


def load_evaluator(
    given: str | None, folder: Path, shards: str, config: Path | str | None = None
) -> tuple[PoseAutoencoder, Export]:
    """The autoencoder, ready to encode, and where it comes from.

    Args:
        given: run folder, export or hub name of a trained one; None trains one, or takes the one trained before.
        folder: where the trained one is kept (`evaluation/evaluator` of the run).
        shards: what it is trained on.
        config: of its training; the tiny one by default.

    Raises:
        ConfigError: what was given is another network.
    """
    if given is None:
        if not (folder / "export" / "model.safetensors").is_file():
            train_evaluator(folder, shards, Path(config or _CONFIGS / "tiny.yaml").resolve())
        given = str(folder)
    export = find_export(given)
    if export.stage != STAGE:
        raise ConfigError(f"evaluator={given} is a network of {export.stage}; give one of {STAGE}")
    return load_network(PoseAutoencoder, export), export


def train_evaluator(folder: Path, shards: str, config: Path) -> None:
    """Train the stage `human.pose_autoencoder` into a run folder of its own, in a process of its own.

    Raises:
        ConfigError: training failed; the message ends with what it said.
    """
    logger.info("training the pose autoencoder of FGD and Diversity in %s", folder)
    where = shards if "://" in shards else str(Path(shards).resolve())
    words = [f"data.shards={json.dumps(where)}", f"run={json.dumps(str(folder.resolve()))}", "resume=auto"]
    # A process of its own: seeds, threads and signal handlers of training stay out of the measuring.
    command = [
        sys.executable,
        "-m",
        "trainers.fit",
        "--config",
        str(config),
        *words,
        "trainer.enable_progress_bar=false",
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COSPEECH_RUN")}
    done = subprocess.run(command, cwd=_ROOT, env=inherited, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise ConfigError(f"the pose autoencoder could not be trained (config {config}, run folder {folder}):\n{said}")


def describe(export: Export) -> dict[str, Any]:
    """What the figures say of the autoencoder that they were taken with."""
    return {"name": export.name, "sha256": export.sha256}
