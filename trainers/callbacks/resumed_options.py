"""Options of optimisers and schedules are the config's, also in a run that goes on."""

from typing import Any

import lightning.pytorch as L
from torch.optim.lr_scheduler import LambdaLR

_NOT_OPTIONS = ("params", "step")


class ResumedOptions(L.Callback):
    """Gives optimisers back the options that they were built with after a checkpoint has put in those of its own.

    A checkpoint holds learning rate, weight decay and the like beside the state they belong to; what the config says
    now is what counts. Where nothing was changed this changes nothing, to the last bit.
    """

    def __init__(self) -> None:
        self._built: list[list[dict[str, Any]]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Optimisers are there, and the checkpoint is restored after this.
        self._built = [
            [{name: value for name, value in group.items() if name not in _NOT_OPTIONS} for group in o.param_groups]
            for o in trainer.optimizers
        ]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for optimizer, built in zip(trainer.optimizers, self._built, strict=True):
            for group, options in zip(optimizer.param_groups, built, strict=True):
                group.update({name: value for name, value in options.items() if name in group and name != "lr"})
                if "initial_lr" not in group:
                    group["lr"] = options["lr"]
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if isinstance(schedule, LambdaLR):
                groups = schedule.optimizer.param_groups
                schedule.base_lrs = [group["initial_lr"] for group in groups]
                for group, base, factor in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
                    group["lr"] = base * factor(schedule.last_epoch)
                schedule._last_lr = [group["lr"] for group in groups]
