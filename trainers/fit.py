"""The training command: `python -m trainers.fit --config configs/mmgt/smga/tiny.yaml key=value ...`.

Nothing heavy is imported before the config is known to be right.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

from settings import Choice, ConfigError, build, command
from settings.ranges import Seed
from trainers.engines.strategies import STRATEGIES
from trainers.failures import describe, record, wait_for_first, world
from trainers.options import (
    CheckpointOptions,
    CompileOptions,
    EMAOptions,
    GuardOptions,
    SampleOptions,
    TrainerOptions,
    WandbOptions,
    WatchdogOptions,
)
from trainers.run.errors import Interrupted, RunStopped
from trainers.run.folder import current, is_first_rank
from trainers.run.signals import ask_to_requeue, forget, listen
from trainers.stages import DATAMODULES, STAGES


def fit(
    *,
    stage: Annotated[dict, Choice(STAGES)],
    data: Annotated[dict, Choice(DATAMODULES)] = "clips",  # type: ignore[assignment]
    trainer: TrainerOptions = TrainerOptions(),
    strategy: Annotated[dict, Choice(STRATEGIES)] = "auto",  # type: ignore[assignment]
    seed: Seed = 0,
    run: Path | None = None,
    resume: str = "auto",
    init_from: str | None = None,
    gradient_checkpointing: bool = False,
    compile: CompileOptions = CompileOptions(),
    ema: EMAOptions = EMAOptions(),
    checkpoint: CheckpointOptions = CheckpointOptions(),
    guard: GuardOptions = GuardOptions(),
    watchdog: WatchdogOptions = WatchdogOptions(),
    samples: SampleOptions = SampleOptions(),
    wandb: WandbOptions = WandbOptions(),
) -> Path:
    """Train a stage. Everything is written to one run folder; the last line of the output says where it is.

    Args:
        stage: what is trained, and its options.
        data: what it is trained on, and how it is read.
        trainer: options of the Lightning Trainer, under its own names.
        strategy: how the run is spread over devices.
        seed: of initial weights, order of samples, noise and dropout.
        run: the run folder; null is runs/<stage>/<date-time>.
        resume: auto continues the run that is in the run folder, if there is one; none wants an empty run folder; a
            run folder or .ckpt file starts a new run folder from that run's state.
        init_from: start from the weights of a run folder, an export, a .ckpt or a .safetensors file (fine-tuning).
        gradient_checkpointing: recompute activations in the backward pass, to save memory.
        compile: torch.compile of the network.
        ema: moving average of the weights.
        checkpoint: when checkpoints are written.
        guard: when a loss counts as lost.
        watchdog: when the run counts as hanging.
        samples: sample videos of each validation.
        wandb: Weights & Biases.

    Returns:
        The run folder.

    Raises:
        ConfigError: something in the config cannot be used.
        LossLost: the loss became NaN, infinite or exploded.
        Interrupted: stopped by a signal, after saving.
        CheckpointError: a checkpoint could not be written or read.
    """
    options = locals()
    # The heavy part, with torch and Lightning behind it.
    from trainers.training import train

    return train(**options)


def main(argv: Sequence[str] | None = None) -> int:
    """The command.

    Exit status: 0 done, 1 stopped by an error, 2 bad config, 75 hung, 130 Ctrl-C, 138 SIGUSR1, 143 SIGTERM. With
    several ranks the error of the one that failed first is shown.
    """
    listen()
    try:
        values = command(fit, argv, prog="python -m trainers.fit")
        run = build(values, fit)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"stopped: {error}", file=sys.stderr)
        if error.number == signal.SIGUSR1 and is_first_rank():
            ask_to_requeue("signal USR1")
        return 128 + error.number
    # Whatever it is that ends a rank, the others would wait for it; it is raised again, or told in a line.
    except Exception as error:
        folder = current()
        if folder is not None and world()[1] > 1:
            _leave(folder.path, error)
        if isinstance(error, RunStopped):
            print(f"stopped: {error}", file=sys.stderr)
            return 1
        raise
    finally:
        forget()
    if is_first_rank():
        print(f"run folder: {run}")
    return 0


def _leave(folder: Path, error: Exception) -> NoReturn:
    """End one rank of several after an error: say who failed first, wait for nobody."""
    own = record(folder, error)
    failure = wait_for_first(folder, own)
    # Ranks that this machine's first one has started share its terminal, and it speaks for them.
    if is_first_rank() or "SLURM_PROCID" in os.environ:
        print(f"stopped: {describe(failure)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    if "trainers.engines.launcher" in sys.modules:
        sys.modules["trainers.engines.launcher"].end_children(5)
    os._exit(failure.status)  # tearing down connections to ranks that are gone may wait for them


if __name__ == "__main__":
    sys.exit(main())
