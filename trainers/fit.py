"""The training command: `python -m trainers.fit --config configs/mmgt/smga/tiny.yaml key=value ...`.

Nothing heavy is imported before the config is known to be right.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from settings import Choice, ConfigError, build, command
from trainers.errors import Interrupted, RunStopped
from trainers.options import (
    CheckpointOptions,
    CompileOptions,
    EMAOptions,
    GuardOptions,
    SampleOptions,
    TrainerOptions,
    WandbOptions,
)
from trainers.run_folder import is_first_rank
from trainers.signals import forget, listen
from trainers.stages import DATAMODULES, STAGES
from trainers.strategies import STRATEGIES


def fit(
    *,
    stage: Annotated[dict, Choice(STAGES)],
    data: Annotated[dict, Choice(DATAMODULES)] = "clips",  # type: ignore[assignment]
    trainer: TrainerOptions = TrainerOptions(),
    strategy: Annotated[dict, Choice(STRATEGIES)] = "auto",  # type: ignore[assignment]
    seed: int = 0,
    run: Path | None = None,
    resume: str = "auto",
    init_from: str | None = None,
    gradient_checkpointing: bool = False,
    compile: CompileOptions = CompileOptions(),
    ema: EMAOptions = EMAOptions(),
    checkpoint: CheckpointOptions = CheckpointOptions(),
    guard: GuardOptions = GuardOptions(),
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
    """The command. Exit status: 0 done, 1 stopped by an error, 2 bad config, 130 Ctrl-C, 143 SIGTERM."""
    listen()
    try:
        values = command(fit, argv, prog="python -m trainers.fit")
        run = build(values, fit)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 128 + error.number
    except RunStopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    finally:
        forget()
    if is_first_rank():
        print(f"run folder: {run}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
