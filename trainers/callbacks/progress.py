"""Progress on the terminal: one line that renews itself, or a plain line now and then in a log file."""

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar

from settings.progress import duration
from trainers.callbacks.throughput import Throughput
from trainers.run.steps import last_step, steps_done


class Progress(ProgressBar):
    """Step, loss, samples a second, skipped samples and time left.

    A terminal line is renewed four times a second at most; where standard error is no terminal, a line is printed
    every `seconds`. The loss is looked at only then, since a look waits for the device.

    Args:
        throughput: the callback that measures samples a second.
        seconds: between lines in a log file.
    """

    def __init__(self, throughput: Throughput, seconds: float = 30.0):
        super().__init__()
        self.throughput = throughput
        self._terminal = sys.stderr.isatty()
        self._pause = 0.25 if self._terminal else seconds
        self._last = self._started = 0.0
        self._first_step = 0
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()
        self._first_step = steps_done(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self._enabled and now - self._last >= self._pause:
            self._last = now
            self._show(self.line(trainer, pl_module, outputs, now))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._enabled or trainer.sanity_checking:
            return
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        if figures:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.print(f"step {steps_done(trainer)}: {shown}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._enabled:
            seconds = time.monotonic() - self._started
            self.print(f"step {steps_done(trainer)}: trained for {duration(seconds)}")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self._enabled and self._terminal:
            sys.stderr.write("\n")

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line that stays."""
        if self._enabled:
            sys.stderr.write(("\r\033[K" if self._terminal else "") + " ".join(map(str, args)) + "\n")
            sys.stderr.flush()

    def line(self, trainer: L.Trainer, stage: Any, outputs: Any, now: float) -> str:
        """What is shown after a step; of a stage with several optimisers the loss of each."""
        step = steps_done(trainer)
        parts = [f"epoch {trainer.current_epoch}", f"step {step}" + (f"/{end}" if (end := last_step(trainer)) else "")]
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:
            parts.append(f"loss {float(loss):.4g}")
        else:
            parts += [f"{name} {float(loss):.4g}" for name, loss in stage.losses.items()]
        done, seconds = step - self._first_step, now - self._started
        if done > 0 and seconds > 0:
            parts.append(f"{done / seconds:.3g} steps/s")
            if self.throughput.samples_per_second:
                parts.append(f"{self.throughput.samples_per_second:.3g} samples/s")
            if end:
                parts.append(f"ETA {duration((end - step) * seconds / done)}")
        bad = sum(getattr(trainer.datamodule, "bad_samples", {}).values())
        if bad:
            parts.append(f"bad samples {bad}")
        return "  ".join(parts)

    def _show(self, line: str) -> None:
        sys.stderr.write(f"\r\033[K{line}" if self._terminal else line + "\n")
        sys.stderr.flush()
