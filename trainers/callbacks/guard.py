"""Stops a run whose loss is lost."""

import math
import statistics
from collections import deque
from typing import Any

import lightning.pytorch as L
import torch

from trainers.options import GuardOptions
from trainers.run.errors import LossLost
from trainers.run.steps import steps_done

_ADVICE = "try a smaller learning rate (stage.optimizer.lr), a longer warm-up, trainer.gradient_clip_val=1, "
_PRECISION = "trainer.precision=32-true or bf16-mixed instead of {precision}, "


class LossGuard(L.Callback):
    """Raises LossLost at a loss that is not finite or beyond `explode_factor` times the median of the last hundred.

    On CPU every step is looked at. On an accelerator a look waits for the device, so losses are collected and looked
    at every `check_every_n_steps` steps, and always before a checkpoint is written: what is on disk stays good.

    Args:
        options: thresholds.
    """

    state_key = "LossGuard"

    def __init__(self, options: GuardOptions = GuardOptions()):
        self.options = options
        self._seen: deque[float] = deque(maxlen=100)
        self._waiting: list[tuple[int, list[str], torch.Tensor]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        losses = getattr(pl_module, "losses", {})
        if loss is None and losses:  # of several optimisers; some may be below zero
            loss = torch.stack([each.abs() for each in losses.values()]).sum()
        if loss is None:
            return
        self._waiting.append((steps_done(trainer), getattr(batch, "ids", []), loss.detach()))
        if loss.device.type == "cpu" or len(self._waiting) >= self.options.check_every_n_steps:
            self._look(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._look(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": list(self._seen)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seen.extend(state_dict["seen"])

    def _look(self, trainer: L.Trainer) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        losses = [waiting[0][2].item()] if len(waiting) == 1 else torch.stack([w[2] for w in waiting]).tolist()
        for (step, ids, _), loss in zip(waiting, losses, strict=True):
            what = self._wrong(loss)
            if what:
                precision = str(trainer.precision)
                advice = _ADVICE + (_PRECISION.format(precision=precision) if precision.startswith("16") else "")
                raise LossLost(
                    f"step {step}: the loss is {what}\n"
                    f"  clips of the batch: {', '.join(ids) or 'unknown'}\n"
                    f"  {advice}or trainer.detect_anomaly=true to find the operation; look at the clips named above\n"
                    "  checkpoints that were written before are good"
                )
            self._seen.append(loss)

    def _wrong(self, loss: float) -> str | None:
        if not math.isfinite(loss):
            return str(loss)
        factor = self.options.explode_factor
        # Twenty losses make a median to trust.
        if factor is None or len(self._seen) < 20:
            return None
        usual = statistics.median(abs(x) for x in self._seen)
        return (
            f"{loss:.4g}, {abs(loss) / usual:,.0f} times its usual {usual:.4g}"
            if abs(loss) > factor * usual > 0
            else None
        )
