"""Checkpoints on disk: written whole or not at all, checked before use, loaded without running code."""

import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from settings import ConfigError, get_logger
from trainers.engines.pieces import MANIFEST, STATE, damage_in_pieces, is_in_pieces, load, sync_folder
from trainers.engines.state import assemble
from trainers.run.errors import CheckpointError

logger = get_logger(__name__)

STEPS = "steps"
"""Where a checkpoint's state of `Checkpoints` says how many batches it is after; older ones do not say it."""
_NAME = re.compile(r"step-(\d+)\.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, syncs, renames; reads with `weights_only`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint file. Raises CheckpointError when the disk does not take it; older files stay whole."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.writing")
        try:
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        except (OSError, RuntimeError) as error:
            # torch's writer turns an OSError of the file into a RuntimeError of its own.
            raise cannot_write(path, error if isinstance(error, OSError) else (error.__context__ or error)) from None
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint file; `weights_only` stays on whatever is asked for."""
        return read(path, map_location)


def cannot_write(path: Path, cause: BaseException) -> CheckpointError:
    """What to say when a checkpoint could not be written."""
    whole = [other.name for other in newest_first(path.parent)]
    kept = f"the newest checkpoint before it is whole: {whole[0]}" if whole else "there is none before it"
    return CheckpointError(
        f"cannot write checkpoint {path}: {cause}; {kept}. Make room on the disk and start again with "
        "the same run= to continue from it"
    )


def read(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, of one file or in pieces, as one dictionary, without running code from it.

    Raises:
        CheckpointError: it is damaged, or holds more than tensors and plain values.
    """
    return assemble(path) if is_in_pieces(path) else load(Path(path), map_location)


def read_state(path: str | Path) -> dict[str, Any]:
    """What Lightning keeps in a checkpoint; weights may be missing. Raises CheckpointError."""
    return load(Path(path) / STATE) if is_in_pieces(path) else load(Path(path))


def remove(path: Path) -> None:
    """Delete a checkpoint of either form."""
    if path.is_dir():
        (path / MANIFEST).unlink(missing_ok=True)  # from here on it is no checkpoint
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None when it is whole (every byte is checked against its checksum)."""
    if is_in_pieces(path):
        return damage_in_pieces(path)
    try:
        if path.stat().st_size == 0:
            return "it is empty"
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        return f"its part {bad} fails the checksum" if bad else None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        return f"it is cut off or no checkpoint ({error})"


def step_of(path: Path) -> int:
    """Steps done when the checkpoint was written, one a batch, from its name; -1 for other names."""
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1


def path_of(folder: Path, step: int) -> Path:
    """The file of a step's checkpoint, `step-00000100.ckpt`."""
    return folder / f"step-{step:08d}.ckpt"


def newest_first(folder: Path) -> list[Path]:
    """The step checkpoints of a folder, newest first, whole or not."""
    return sorted((path for path in folder.glob("step-*.ckpt") if step_of(path) >= 0), key=step_of, reverse=True)


def names_count_batches(folder: Path) -> bool | None:
    """Whether names of step checkpoints count batches; None where no checkpoint can be read.

    Before this was said in them, names counted the steps of all optimisers together.
    """
    for path in newest_first(folder):
        try:
            state = load(path / STATE if is_in_pieces(path) else path, mmap=not is_in_pieces(path))
            return STEPS in state["callbacks"]["Checkpoints"]
        except (CheckpointError, KeyError, TypeError):
            continue
    return None


def count_batches(folder: Path, samples: Path, optimisers: int) -> None:
    """Rename checkpoints and sample videos of an older run whose names count the steps of several optimisers.

    Args:
        folder: where checkpoints are.
        samples: where sample videos are.
        optimisers: how many steps of them a batch makes.
    """
    if optimisers < 2 or names_count_batches(folder) is not False:
        return
    for path in newest_first(folder)[::-1]:  # the first first, so that each new name is free
        new = path_of(folder, step_of(path) // optimisers)
        logger.info("%s is renamed to %s: names count batches now", path.name, new.name)
        path.rename(new)
    last = folder / "last.ckpt"
    if last.is_symlink():
        last.unlink()
        last.symlink_to(newest_first(folder)[0].name)
    for path in sorted(samples.glob("step-*_*.mp4")):
        step, _, clip = path.name.partition("_")
        path.rename(samples / f"step-{int(step[5:]) // optimisers:08d}_{clip}")


def newest_whole(folder: Path, thorough: bool = True) -> Path | None:
    """The newest checkpoint, of one file or in pieces, that is whole; damaged ones before it are named in the log.

    Args:
        folder: where checkpoints are.
        thorough: read every byte; else take the newest as it is, where another rank looks.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    candidates = newest_first(folder)
    best = folder / "best.ckpt"
    if best.exists():
        candidates.append(best)
    for path in candidates:
        wrong = damage(path) if thorough else None
        if wrong is None:
            return path
        logger.warning("checkpoint %s is damaged: %s; falling back to the one before", path, wrong)
    if candidates:
        raise CheckpointError(
            f"all checkpoints in {folder} are damaged; start anew with another run=, or empty the run folder"
        )
    return None


def weights_of(source: str | Path) -> tuple[dict[str, torch.Tensor], Path]:
    """Weights of a network from a run folder, an export folder, a .ckpt (file or folder) or a .safetensors file.

    Averaged weights (EMA) are taken where a checkpoint has them. Returns the weights under the network's own names
    and the file they come from. Raises ConfigError when there is nothing to be found.
    """
    path = Path(source)
    tried = [path / "export" / "model.safetensors", path / "model.safetensors"] if path.is_dir() else [path]
    file = next((candidate for candidate in tried if candidate.is_file()), None)
    if file is None and (path / MANIFEST).is_file():
        file = path
    if file is None and (path / "checkpoints").is_dir():
        file = newest_whole(path / "checkpoints")
    if file is None:
        raise ConfigError(
            f"init_from={source}: found no weights there; give a run folder, an export folder, a .ckpt or a "
            ".safetensors file"
        )
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file), file
    return network_weights(file), file


def network_weights(file: str | Path, averaged: bool = True) -> dict[str, torch.Tensor]:
    """Weights and buffers of the network in a checkpoint, under its own names.

    Averaged weights (EMA) are taken where the checkpoint has them, unless `averaged` is false. Raises CheckpointError
    for a file that cannot be read.
    """
    checkpoint = read(file)
    prefix = "network."
    weights = {k[len(prefix) :]: v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    averages = checkpoint.get("callbacks", {}).get("EMA", {}).get("averages", {}) if averaged else {}
    return {**weights, **averages}


def fill(network: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a network the weights of a checkpoint; what is frozen is in none, and stays.

    Raises:
        RuntimeError: they are another network's.
    """
    frozen = {name: p for name, p in network.named_parameters() if not p.requires_grad}
    network.load_state_dict({**frozen, **weights})


def init_from(network: torch.nn.Module, source: str | Path) -> dict[str, list[str]]:
    """Start a network from another's weights, and say what did not match.

    Returns:
        Names under `missing` (in the network, not in the source), `unexpected` (the other way round) and `shape`
        (in both, of different shapes); all of these keep the network's own values.

    Raises:
        ConfigError: nothing matches.
    """
    weights, file = weights_of(source)
    own: Mapping[str, torch.Tensor] = network.state_dict()
    shape = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    fitting = {name: weights[name] for name in own if name in weights and name not in shape}
    if not fitting:
        raise ConfigError(f"init_from={source}: no weight of {file} fits {type(network).__name__}")
    network.load_state_dict(fitting, strict=False)  # what does not fit keeps its values and is listed below
    differences = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "shape": [f"{name} {tuple(weights[name].shape)} -> {tuple(own[name].shape)}" for name in shape],
    }
    logger.info("init_from: %d of %d tensors from %s", len(fitting), len(own), file)
    for kind, names in differences.items():
        if names:
            logger.warning("init_from: %d %s: %s", len(names), kind, ", ".join(names))
    return differences
