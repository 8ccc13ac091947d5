"""Sample videos of a validation."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger

from trainers.options import SampleOptions
from trainers.stage import Stage


class SampleVideos(L.Callback):
    """Writes `samples/step-00000100_<clip>.mp4` of a validation's first clips: real left, generated right, with sound.

    What is shown is what the stage's `sample` returns for the first clips of the first validation batch.

    Args:
        folder: where they go.
        options: how many, how often, how large.
    """

    def __init__(self, folder: Path, options: SampleOptions = SampleOptions()):
        self.folder = folder
        self.options = options
        self._validations = 0

    state_key = "SampleVideos"

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking or batch_idx or dataloader_idx:
            return
        self._validations += 1
        if not self.options.count or (self._validations - 1) % self.options.every_n_validations:
            return
        some = first(batch, self.options.count)
        with torch.no_grad():
            sampled = cast(Stage, pl_module).sample(some)  # on every rank: a sharded network needs them all
        if "pose" not in sampled or not trainer.is_global_zero:
            return
        written = [
            self._write(trainer.global_step, some, i, sampled["pose"][i].float().cpu().numpy())
            for i in range(len(some.ids))
        ]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_video(
                    "samples",
                    [str(path) for path in written],
                    step=trainer.fit_loop.epoch_loop._batches_that_stepped,
                    caption=[f"{name}: real, generated" for name in some.ids],
                    format=["mp4"] * len(written),
                )

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def _write(self, step: int, batch: Any, i: int, generated: np.ndarray) -> Path:
        # Imported when the first sample is drawn: brings OpenCV and the video encoder.
        from datamodules.media import write_video
        from models.human.draw import draw_pose

        info = batch.infos[i] if batch.infos else None
        height = self.options.height // 2 * 2
        # A clip of motion alone has no picture size.
        aspect = info.width / info.height if info and info.width and info.height else 1.0
        width = round(height * aspect / 2) * 2
        real = batch.pose[i].float().cpu().numpy() if batch.pose is not None else None

        def frames() -> Any:
            for t in range(len(generated)):
                pictures = [draw_pose(pose[t], height, width) for pose in (real, generated) if pose is not None]
                yield np.concatenate(pictures, axis=1)

        clip = batch.ids[i].replace("@", "-")
        path = self.folder / f"step-{step:08d}_{clip}.mp4"
        sound = batch.audio[i].float().cpu().numpy() if batch.audio is not None else None
        write_video(
            path,
            frames(),
            batch.fps,
            audio=sound,
            sample_rate=16000,
            metadata={"left": "real", "right": "generated", "step": step, "clip": batch.ids[i]},
        )
        return path


def first(batch: Any, count: int) -> Any:
    """The first windows of a batch."""
    size = len(batch.ids)

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(part) for name, part in value.items()}
        if isinstance(value, (torch.Tensor, list)) and len(value) == size:
            return value[:count]
        return value

    return replace(batch, **{field.name: cut(getattr(batch, field.name)) for field in fields(batch)})
