"""Learning-rate schedules by name, stepped once per optimiser step.

Each function takes the options and returns `make(optimizer, total_steps)`. `total_steps` is called only by a schedule
that has an end, since Lightning has to set up the data to know it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from settings import ConfigError, Registry
from settings.ranges import Count, Fraction, Whole

if TYPE_CHECKING:
    import torch

TotalSteps = Callable[[], float]
ScheduleFactory = Callable[["torch.optim.Optimizer", TotalSteps], "torch.optim.lr_scheduler.LRScheduler"]

SCHEDULES = Registry(
    "schedule",
    {
        "constant": "trainers.stage.schedules:constant",
        "warmup": "trainers.stage.schedules:warmup",
        "cosine": "trainers.stage.schedules:cosine",
    },
)


def constant() -> ScheduleFactory:
    """The optimiser's learning rate at every step."""
    return lambda optimizer, total_steps: _by_factor(optimizer, lambda step: 1.0)


def warmup(*, warmup_steps: Whole = 500) -> ScheduleFactory:
    """Linear warm-up, then constant: lr * min(1, (step + 1) / warmup_steps).

    Args:
        warmup_steps: optimiser steps until the full learning rate; 0 is none.
    """
    return lambda optimizer, total_steps: _by_factor(optimizer, lambda step: _warmup_factor(step, warmup_steps))


def cosine(
    *, warmup_steps: Whole = 500, total_steps: Count | None = None, final_factor: Fraction = 0.0
) -> ScheduleFactory:
    """Linear warm-up, then half a cosine down to `lr * final_factor`.

    Args:
        warmup_steps: optimiser steps until the full learning rate; 0 is none.
        total_steps: optimiser steps until the end of the cosine; null takes the length of the run.
        final_factor: part of the learning rate that is left at the end.

    Raises:
        ConfigError: when the run has no end and `total_steps` is not given.
    """

    def make(optimizer: "torch.optim.Optimizer", run_steps: TotalSteps) -> "torch.optim.lr_scheduler.LRScheduler":
        end = float(total_steps) if total_steps is not None else run_steps()
        if not math.isfinite(end):
            raise ConfigError(
                "the cosine schedule needs an end: set trainer.max_steps, trainer.max_epochs "
                "or stage.schedule.total_steps"
            )
        length = max(1.0, end - warmup_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return _warmup_factor(step, warmup_steps)
            progress = min(1.0, (step - warmup_steps) / length)
            return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))

        return _by_factor(optimizer, factor)

    return make


def _warmup_factor(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / max(1, warmup_steps))


def _by_factor(
    optimizer: "torch.optim.Optimizer", factor: Callable[[int], float]
) -> "torch.optim.lr_scheduler.LRScheduler":
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, factor)
