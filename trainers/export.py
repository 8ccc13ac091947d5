"""A checkpoint to a saved network: `python -m trainers.export --run RUN`. `trainers.fit` does it itself at its end."""

import sys
from collections.abc import Sequence
from pathlib import Path

from settings import ConfigError, command
from settings.output import OutputError, check_writable, faults_of


def export(*, run: Path, checkpoint: str = "newest", averaged: bool = True, out: Path | None = None) -> Path:
    """Write the network of a run that goes on, or was stopped, as `animate`, `evaluate` and `from_pretrained` take it.

    Args:
        run: the run folder.
        checkpoint: newest (the newest whole one), best, the number of a step, or a .ckpt, of one file or in pieces.
        averaged: the average of the weights (EMA) where the checkpoint has it, else the weights themselves.
        out: folder to write; left out, RUN/export.

    Returns:
        The folder, with `config.json` and `model.safetensors`.

    Raises:
        ConfigError: no run there, no checkpoint, or one that does not belong to the run's config.
        CheckpointError: a checkpoint that cannot be read.
    """
    from trainers.run.checkpoints import fill, network_weights, newest_whole, path_of
    from trainers.run.exports import rebuilt, write_export
    from trainers.run.folder import RunFolder, read_config

    folder = RunFolder(Path(run))
    values = read_config(folder)
    if values is None:
        raise ConfigError(f"run={run} is no run folder: there is no {folder.config}")
    if checkpoint == "newest":
        file = newest_whole(folder.checkpoints)
    elif checkpoint.isdecimal():
        file = path_of(folder.checkpoints, int(checkpoint))
    else:
        file = folder.checkpoints / "best.ckpt" if checkpoint == "best" else Path(checkpoint)
    if file is None or not file.exists():
        where = file or f"checkpoint in {folder.checkpoints}"
        raise ConfigError(f"checkpoint={checkpoint}: there is no {where}")
    target = Path(out) if out else folder.export
    check_writable(target)
    stage = rebuilt(values)
    try:
        fill(stage.network, network_weights(file, averaged))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{file} does not fit the stage of {folder.config}: {reason}") from None
    return write_export(stage.network, Path(out) if out else folder.export, values, folder.path)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `export`; 0, or 2 with one line of explanation."""
    from trainers.run.checkpoints import CheckpointError

    values = command(export, argv, prog="python -m trainers.export")
    try:
        with faults_of(Path(values["out"] or values["run"])):
            print(export(**values))
    except (ConfigError, CheckpointError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
