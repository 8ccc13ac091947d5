"""The networks that make pairs: a UniVDM at one of its checkpoints, and its autoencoder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from models.paha.univdm import UniVDM
from preprocessing.negatives.options import Options
from preprocessing.runs.writer import make_folder
from pretrained.autoencoders import load_autoencoder
from pretrained.exports import load_frozen
from pretrained.hashes import short
from settings import ConfigError
from settings.locks import alone

SAVED: Final = "network-{}"
"""Folder in the output for the network of a checkpoint: with the pairs stays what made them."""


@dataclass(frozen=True)
class Networks:
    """Both, frozen, and the SHA-256 of their weights.

    Attributes:
        speech_layers: which of the stored layers of a speech network the UniVDM was trained on; all of them where None.
    """

    univdm: UniVDM
    sha256: str
    autoencoder: Any
    autoencoder_sha256: str
    speech_layers: list[int] | None = None


def load_networks(options: Options, output: Path) -> Networks:
    """The networks that the options name.

    Raises:
        ConfigError: none there, other networks, or an autoencoder whose latents the UniVDM does not know.
    """
    where, config = _saved(options, output)
    univdm, sha256 = load_frozen(UniVDM, "run", where, "a network of paha.univdm")
    name = options.autoencoder or config.get("stage", {}).get("autoencoder")
    if name is None:
        raise ConfigError(
            f"run={options.run} does not say which autoencoder it was trained on: give autoencoder=RUN (a run of "
            "video.autoencoder, a folder or a hub name)"
        )
    autoencoder, of = load_autoencoder("autoencoder", name)
    if univdm.autoencoder and univdm.autoencoder != of:
        raise ConfigError(
            f"autoencoder={name} is another network than the one whose latents run={options.run} knows (its hash "
            f"begins with {short(of)}, wanted is {short(univdm.autoencoder)})"
        )
    return Networks(univdm, sha256, autoencoder, of, config.get("data", {}).get("speech_layers"))


def _saved(options: Options, output: Path) -> tuple[str, dict[str, Any]]:
    """Where the network is saved, and the run's config (empty for a network that came alone)."""
    run, checkpoint = Path(options.run).expanduser(), str(options.checkpoint)
    if not ((run / "config.yaml").is_file() and (run / "checkpoints").is_dir()):
        if checkpoint != "last":
            raise ConfigError(
                f"checkpoint={checkpoint}: run={options.run} is no run folder with checkpoints; leave checkpoint out"
            )
        return options.run, {}
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    folder = output / SAVED.format(checkpoint)
    make_folder(output)
    with alone(output / ".network.lock", wait=True):  # the tasks of an array all come here
        if options.restart or not (folder / "config.json").is_file():
            _export(run, checkpoint, folder)
    return str(folder), config


def _export(run: Path, checkpoint: str, folder: Path) -> None:
    """By the command that knows checkpoints of every kind, also those that many ranks wrote."""
    which = {"last": "newest"}.get(checkpoint, checkpoint)
    words = ["--run", str(run), f"--checkpoint={which}", "--out", str(folder)]
    done = subprocess.run([sys.executable, "-m", "trainers.export", *words], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise ConfigError(f"run={run}, checkpoint={checkpoint}: {lines[-1].removeprefix('error: ')}")
