"""The training command with a clock in it, for benchmarks that start it as real processes.

    python -m benchmarks.ranks stage=timed data="one batch" key=value ...

`stage=timed` is `mmgt.smga` whose ranks write `steps-<rank>.json` into the run folder; `stage=counted` one whose ranks
write `held-<rank>.json`, what they hold and send (`trainers.planning.count`).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from benchmarks.framework_tax import OneBatch
from models.mmgt.smga import HANDCRAFTED
from trainers.mmgt.smga import SMGAStage
from trainers.planning.count import HeldBytes
from trainers.stages import DATAMODULES, STAGES

ROOT = Path(__file__).resolve().parents[1]


class StepClock(L.Callback):
    """Seconds of each step, from the end of the one before to its own, with all hooks and checkpoints in between.

    On a GPU it waits for the device every few steps only, and gives their mean.
    """

    def __init__(self) -> None:
        self.every = 1
        self.steps: list[float] = []
        self.saves: list[tuple[int, float]] = []
        self._since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.every = 5 if pl_module.device.type == "cuda" else 1
        save = trainer.save_checkpoint

        def timed(*args: Any, **kwargs: Any) -> None:
            start = time.perf_counter()
            save(*args, **kwargs)
            self.saves.append((trainer.global_step, time.perf_counter() - start))

        trainer.save_checkpoint = timed  # type: ignore[method-assign]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % self.every:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        now = time.perf_counter()
        if batch_idx:
            self.steps.append((now - self._since) / self.every)
        self._since = now

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        cuda = pl_module.device.type == "cuda"
        figures = {
            "seconds": self.steps,
            "saves": self.saves,
            "peak_bytes": torch.cuda.max_memory_allocated(pl_module.device) if cuda else None,
            "device": torch.cuda.get_device_name(pl_module.device) if cuda else "cpu",
        }
        path = Path(trainer.default_root_dir) / f"steps-{trainer.global_rank}.json"
        path.write_text(json.dumps(figures) + "\n", encoding="utf-8")


class TimedSMGA(SMGAStage):
    """SMGA with a clock."""

    def configure_callbacks(self) -> list[L.Callback]:
        return [StepClock()]


class CountedSMGA(SMGAStage):
    """SMGA whose ranks count what they hold."""

    def configure_callbacks(self) -> list[L.Callback]:
        return [HeldBytes()]


def train(
    run: Path, *words: str, threads: int = 1, timeout: float = 900, environment: Mapping[str, str] = {}
) -> list[dict[str, Any]]:
    """Train in real processes, each with so many threads; what each rank wrote down.

    Args:
        run: the run folder.
        words: of the command line.
        threads: of each rank.
        timeout: seconds after which it counts as hung.
        environment: what is added to it.

    Raises:
        RuntimeError: the training failed, with the end of its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ranks", f"run={run}", "trainer.enable_progress_bar=false", *words],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(threads), **environment}, capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    files = sorted([*run.glob("steps-*.json"), *run.glob("held-*.json")])
    return [json.loads(file.read_text()) for file in files]


def smga(stage: str, *, window: int, batch: int, audio_channels: int = HANDCRAFTED, **sizes: Any) -> tuple[str, ...]:
    """Words for an SMGA of a size, and its batch. The stage is named first: what stands before its name is dropped.

    Args:
        stage: timed or counted.
        window: frames.
        batch: windows.
        audio_channels: speech features a frame.
        sizes: further options of the stage.
    """
    sizes |= {"window": window, "audio_channels": audio_channels}
    return (
        f"stage={stage}",
        *(f"stage.network.{name}={size}" for name, size in sizes.items()),
        "data=one batch", f"data.size={batch}", f"data.window={window}",
        f"data.channels={audio_channels - HANDCRAFTED}",
        "trainer.limit_val_batches=0", "checkpoint.monitor=null", "samples.count=0",
    )  # fmt: skip


if __name__ == "__main__":
    from trainers.fit import main

    STAGES.add("timed", TimedSMGA)
    STAGES.add("counted", CountedSMGA)
    DATAMODULES.add("one batch", OneBatch)
    sys.exit(main())
