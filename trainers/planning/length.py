"""How long a whole training takes, and what would make it shorter."""

from collections.abc import Mapping
from typing import Any

from trainers.planning.time import Step
from trainers.stage.base import Stage


def batches_of(values: Mapping[str, Any], stage: Stage, windows: int | None, gpus: int) -> float | None:
    """Optimiser steps of a whole training; None where epochs are told and nobody knows their length.

    Steps of a stage with several optimisers count each of them; one batch makes a step of all.

    Args:
        values: the training config, with `data.batch_size` of a rank.
        stage: what is trained.
        windows: of an epoch.
        gpus: ranks.
    """
    trainer, data = values["trainer"], values["data"]
    whole = data["batch_size"] * gpus * trainer["accumulate_grad_batches"]
    ends = []
    if trainer["max_steps"] >= 0:
        ends.append(trainer["max_steps"] / (1 if stage.automatic_optimization else len(stage.parts())))
    epoch = data.get("steps_per_epoch") if data.get("epoch") == "random" else None
    steps = epoch / trainer["accumulate_grad_batches"] if epoch else windows and windows / whole
    if trainer["max_epochs"] and steps:
        ends.append(trainer["max_epochs"] * steps)
    return min(ends) if ends else None


def hours(batches: float | None, step: Step, faster: Step | None) -> dict[str, float]:
    """Hours and GPU-hours of a training of so many steps, and of the same with a faster step."""
    if batches is None:
        return {}
    whole = batches * step.seconds / 3600
    found = {"steps": batches, "hours": whole, "gpu_hours": whole * step.gpus}
    if faster is not None:
        found["bf16_hours"] = batches * faster.seconds / 3600
    return found


def advice(step: Step, faster: Step, stage: Stage) -> list[str]:
    """What bf16 would give where everything is computed in fp32."""
    share = faster.seconds / step.seconds
    if share > 0.9:
        return []
    care = f"; but {stage.full_precision}" if stage.full_precision else ""
    return [f"trainer.precision=bf16-mixed takes {share:.0%} of the time of fp32{care}"]
