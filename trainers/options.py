"""Sections of the training config: dataclasses whose docstrings are their `--help`. Nothing heavy is imported here."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from settings.ranges import Count, CountOrAll, Fraction, NonNegative, Pixels, Whole

_Part = Annotated[float, Field(gt=0, le=1)]
_Devices = Annotated[int, Field(ge=-1)]
_Factor = Annotated[float, Field(gt=1)]


@dataclass(frozen=True)
class TrainerOptions:
    """Options of the Lightning Trainer, under its own names.

    Args:
        max_steps: optimiser steps of the run; -1 is no limit. A stage with two optimisers (a GAN) makes two a batch:
            of 600, file names, curves and messages count 300, one a batch.
        max_epochs: epochs of the run; null is no limit. One of the two limits must be set.
        accelerator: auto, cpu, gpu, ...
        devices: number of devices, a list of device numbers, or auto.
        num_nodes: number of machines.
        precision: 32-true, bf16-mixed, 16-mixed (GPUs alone) or 64-true; weights of 16 bits are refused.
        accumulate_grad_batches: batches whose gradients are added up for one optimiser step.
        gradient_clip_val: largest gradient norm (or value); null does not clip.
        gradient_clip_algorithm: clip by the norm over all parameters, or value by value.
        val_check_interval: batches between validations (a whole number), or part of an epoch; null is once an epoch.
        check_val_every_n_epoch: epochs between validations; null lets val_check_interval count across epochs.
        limit_train_batches: batches of a training epoch (a whole number), or part of it; null is all.
        limit_val_batches: batches of a validation (a whole number), or part of it; 0 is no validation, null is all.
        num_sanity_val_steps: validation batches tried before training starts.
        log_every_n_steps: optimiser steps between two rows of figures.
        deterministic: only deterministic algorithms; "warn" uses the others with a warning.
        benchmark: let cuDNN choose its fastest algorithms; null is PyTorch's default.
        detect_anomaly: find the operation that made a NaN; slow.
        enable_progress_bar: show progress on the terminal.
    """

    max_steps: CountOrAll = -1
    max_epochs: CountOrAll | None = None
    accelerator: str = "auto"
    devices: _Devices | list[Whole] | str = "auto"
    num_nodes: Count = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "64"] = (
        "32-true"
    )
    accumulate_grad_batches: Count = 1
    gradient_clip_val: NonNegative | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    val_check_interval: Count | _Part | None = None
    check_val_every_n_epoch: Count | None = 1
    limit_train_batches: Whole | Fraction | None = None
    limit_val_batches: Whole | Fraction | None = None
    num_sanity_val_steps: CountOrAll = 0
    log_every_n_steps: Count = 50
    deterministic: bool | Literal["warn"] = False
    benchmark: bool | None = None
    detect_anomaly: bool = False
    enable_progress_bar: bool = True


@dataclass(frozen=True)
class CompileOptions:
    """torch.compile of the stage's network.

    Args:
        enabled: compile.
        mode: what to compile for.
        dynamic: expect changing shapes; null lets the compiler find out.
        fullgraph: fail where the compiler would fall back to Python.
    """

    enabled: bool = False
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default"
    dynamic: bool | None = None
    fullgraph: bool = False


@dataclass(frozen=True)
class EMAOptions:
    """Exponential moving average of the weights (MMGT-9): used for validation, samples and export, kept in checkpoints.

    Args:
        enabled: keep the average.
        decay: decay after warm-up; during it, (1 + n) / (10 + n) after n steps where that is smaller.
        every_n_steps: steps from one update to the next; it counts for all of them.
    """

    enabled: bool = True
    decay: Annotated[float, Field(ge=0, le=1)] = 0.9999
    every_n_steps: Annotated[int, Field(ge=1)] = 10


@dataclass(frozen=True)
class CheckpointOptions:
    """When checkpoints are written, and how many are kept.

    Args:
        every_n_steps: optimiser steps between checkpoints, counted as those of trainer.max_steps.
        keep_last: how many of them are kept; -1 or 0 keeps all.
        keep_steps: steps whose checkpoints are written and kept beside these, such as [60000].
        monitor: figure of the stage that tells the best checkpoint, such as val/loss; null keeps no best.
        mode: whether a smaller or a larger figure is better.
        export: whose network becomes the run's: that of the last step, or of the best checkpoint.
    """

    every_n_steps: Annotated[int, Field(ge=1)] = 1000
    keep_last: Annotated[int, Field(ge=-1)] = 3
    keep_steps: list[Count] = field(default_factory=list)
    monitor: str | None = "val/loss"
    mode: Literal["min", "max"] = "min"
    export: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class GuardOptions:
    """When a loss counts as lost, and the run stops.

    Args:
        explode_factor: a loss beyond this many times the median of the last hundred stops the run; null never does.
        check_every_n_steps: steps between looks at the loss on an accelerator (each look waits for it); on CPU every
            step is looked at. A checkpoint is never written without a look.
    """

    explode_factor: _Factor | None = 1000.0
    check_every_n_steps: Count = 20


@dataclass(frozen=True)
class WatchdogOptions:
    """When a run counts as hanging.

    Args:
        minutes: longest time between two batches; then every rank writes its stacks and the run ends; 0 never ends it.
    """

    minutes: Annotated[float, Field(ge=0)] = 30.0


@dataclass(frozen=True)
class SampleOptions:
    """Sample videos of each validation, generated beside real, with sound.

    Args:
        count: clips shown in each validation; 0 is none.
        every_n_validations: validations between two with samples.
        height: height of the pictures in pixels; the width follows the clip.
    """

    count: Whole = 1
    every_n_validations: Count = 1
    height: Pixels = 256


@dataclass(frozen=True)
class WandbOptions:
    """Weights & Biases.

    Args:
        mode: online sends figures and samples to the account, offline writes them under the run folder for
            `wandb beta sync RUN/wandb`, off does nothing.
        project: project of the run.
        name: name of the run; null takes that of the run folder.
        tags: tags of the run.
    """

    mode: Literal["online", "offline", "off"] = "off"
    project: str = "cospeech"
    name: str | None = None
    tags: list[str] = field(default_factory=list)
