"""How fast a run goes, and its learning rate and gradient norm."""

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.throughput import get_available_flops
from lightning.pytorch.profilers import Profiler

from trainers.engines.fragments import shards_of
from trainers.planning.gpus import named


class WaitClock(Profiler):
    """A Lightning profiler that measures one thing: seconds spent waiting for the next training batch."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        self._since = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self._since = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self.waited += time.perf_counter() - self._since


class Throughput(L.Callback):
    """Logs samples a second, the share of time spent waiting for data, memory, learning rate and gradient norm.

    On a GPU with known peak also the share of it that is used (MFU). Figures cover the steps since the last row,
    without validation. They appear as `train/...` and `speed/...`.

    Args:
        operations: gives the operations of a step by the size of its batch, without taking one: counting in a real step
            would keep alive what gradient checkpointing lets go. None counts none.
    """

    def __init__(self, operations: Callable[[int], int | None] | None = None):
        self._operations = operations
        self.samples_per_second = 0.0
        self._samples = self._steps = 0
        self._paused = self._validation_since = 0.0
        self._since = self._waited = 0.0
        self._flops: int | None = None
        self._figures: dict[str, float | torch.Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restart(trainer)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        # A stage that steps its optimisers itself clips, and looks at the norm, before this hook.
        early = pl_module.automatic_optimization and not shards_of(trainer).norm_after_step
        if early and trainer._logger_connector.should_update_logs:
            self._take_norm(trainer, optimizer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._flops is None and self._operations is not None and pl_module.device.type == "cuda":
            self._flops = self._operations(len(batch)) or 0
        self._steps += 1
        self._samples += len(batch) if hasattr(batch, "__len__") else 0
        if not trainer._logger_connector.should_update_logs or trainer.fit_loop._should_accumulate():
            return
        if shards_of(trainer).norm_after_step:
            for optimizer in trainer.optimizers:
                self._take_norm(trainer, optimizer)
        self._log(trainer, pl_module)
        self._restart(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validation_since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._paused += time.perf_counter() - self._validation_since

    def _take_norm(self, trainer: L.Trainer, optimizer: Any) -> None:
        norm = shards_of(trainer).gradient_norm(optimizer)
        if norm is not None:
            # A tensor, looked at when the row is written.
            number = next(i for i, each in enumerate(trainer.optimizers) if each is optimizer)
            self._figures["train/grad_norm" if number == 0 else f"train/grad_norm_{number}"] = norm

    def _restart(self, trainer: L.Trainer) -> None:
        self._samples = self._steps = 0
        self._paused = 0.0
        self._since = time.perf_counter()
        self._waited = getattr(trainer.profiler, "waited", 0.0)

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        figures, self._figures = self._figures, {}
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        seconds = max(1e-9, time.perf_counter() - self._since - self._paused)
        self.samples_per_second = self._samples * trainer.world_size / seconds
        figures["speed/samples_per_second"] = self.samples_per_second
        figures["speed/seconds_per_step"] = seconds / self._steps * trainer.accumulate_grad_batches
        figures["speed/data_wait_share"] = (getattr(trainer.profiler, "waited", 0.0) - self._waited) / seconds
        figures["speed/memory_gb"] = _memory(pl_module.device) / 2**30
        if self._flops:
            peak = _peak(pl_module.device, _compute_dtype(str(trainer.precision)))
            if peak:
                figures["speed/mfu"] = self._flops * self._steps / seconds / peak
        for i, optimizer in enumerate(trainer.optimizers):
            figures["train/lr" if i == 0 else f"train/lr_{i}"] = optimizer.param_groups[0]["lr"]
        bad = sum(getattr(trainer.datamodule, "bad_samples", {}).values())
        figures["data/bad_samples"] = bad
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        row = {name: float(value) for name, value in figures.items()}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=step)


def _memory(device: torch.device) -> float:
    """Peak bytes: of the device's allocator, or of this process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second: the planner's figure, or Lightning's for a GPU that the planner does not have."""
    card = named(torch.cuda.get_device_name(device))
    if card is None:
        return get_available_flops(device, dtype)
    if dtype != torch.float32:
        return card.bf16
    # TF32 has half the rate of 16 bits.
    return card.fp32 if torch.get_float32_matmul_precision() == "highest" else card.bf16 / 2


def _compute_dtype(precision: str) -> torch.dtype:
    if precision.startswith("bf16"):
        return torch.bfloat16
    return torch.float16 if precision.startswith("16") else torch.float32
