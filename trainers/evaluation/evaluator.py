"""The networks that others are measured by: given, kept from before, or trained now on the same shards."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cospeech import shipped
from models.human.autoencoder import PoseAutoencoder
from models.versa.evaluator import TextMotionEvaluator
from pretrained.exports import Export, load_network
from settings import ConfigError, get_logger
from trainers.run.exports import find_export

logger = get_logger(__name__)

STAGE = "human.pose_autoencoder"
TEXT_MOTION = "versa.evaluator"


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
    export = find_or_train(given, folder, shards, config, STAGE)
    return load_network(PoseAutoencoder, export), export


def load_text_motion_evaluator(
    given: str | None, folder: Path, shards: str, config: Path | str | None = None
) -> tuple[TextMotionEvaluator, Export]:
    """The network of texts and motions (VA-17), likewise."""
    export = find_or_train(given, folder, shards, config, TEXT_MOTION)
    return load_network(TextMotionEvaluator, export), export


def find_or_train(given: str | None, folder: Path, shards: str, config: Path | str | None, stage: str) -> Export:
    """A network of that stage: the given one, the one trained in `folder` before, or one trained now."""
    if given is None:
        if not (folder / "export" / "model.safetensors").is_file():
            tiny = shipped.folder("configs") / Path(*stage.split(".")) / "tiny.yaml"
            train_evaluator(folder, shards, Path(config or tiny).resolve())
        given = str(folder)
    export = find_export(given)
    if export.stage != stage:
        raise ConfigError(f"evaluator={given} is a network of {export.stage}; give one of {stage}")
    return export


def train_evaluator(folder: Path, shards: str, config: Path) -> None:
    """Train such a network into a run folder of its own, in a process of its own.

    Raises:
        ConfigError: training failed; the message ends with what it said.
    """
    logger.info("training the network that is measured by (%s) in %s", config, folder)
    where = shards if "://" in shards else str(Path(shards).resolve())
    words = [f"data.shards={json.dumps(where)}", f"run={json.dumps(str(folder.resolve()))}", "resume=auto"]
    # A process of its own: seeds, threads and signal handlers of training stay out of the measuring.
    command = [sys.executable, "-m", "trainers.fit", "--config", str(config), *words]
    inherited = {name: value for name, value in shipped.environment().items() if not name.startswith("COSPEECH_RUN")}
    lines: list[str] = []
    with subprocess.Popen(
        command, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("epoch "):  # its progress, twice a minute
                print(f"training the network that is measured by: {line.rstrip()}", file=sys.stderr, flush=True)
    if process.returncode:
        log = "\n".join("".join(lines).strip().splitlines()[-5:])
        raise ConfigError(
            f"the network that is measured by could not be trained (config {config}, run folder {folder}):\n{log}"
        )


def describe(export: Export) -> dict[str, Any]:
    """What the figures say of the autoencoder that they were taken with."""
    return {"name": export.name, "sha256": export.sha256}
