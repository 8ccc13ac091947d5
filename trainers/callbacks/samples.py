"""Sample videos of a validation."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger

from models.human.motion import FPS, recover_joints
from trainers.options import SampleOptions
from trainers.run.steps import steps_done
from trainers.stage.base import Stage


class SampleVideos(L.Callback):
    """Writes `samples/step-00000100_<clip>.mp4` of a validation's first clips: real left, generated right, with sound.

    A stage that starts from a picture may show that on the left of both (`beside`).

    What is shown is what the stage's `sample` returns for the first clips of the first validation batch; poses and
    motion are drawn.

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
        if not sampled or not trainer.is_global_zero:
            return
        kind, output = next(iter(sampled.items()))
        pictures = _PICTURES[kind]
        fps = FPS if kind == "motion" else some.fps
        written = [
            self._write(
                steps_done(trainer),
                some,
                i,
                pictures(some, i, output[i].float().cpu(), self.options.height),
                fps,
                _shown(kind),
            )
            for i in range(len(some.ids))
        ]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_video(
                    "samples",
                    [str(path) for path in written],
                    step=trainer.fit_loop.epoch_loop._batches_that_stepped,
                    caption=[f"{name}: {', '.join(_shown(kind))}" for name in some.ids],
                    format=["mp4"] * len(written),
                )

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def _write(
        self, step: int, batch: Any, i: int, frames: Iterator[np.ndarray], fps: float, shown: tuple[str, ...]
    ) -> Path:
        from datamodules.media.files import write_video  # brings the video encoder

        clip = batch.ids[i].replace("@", "-")
        path = self.folder / f"step-{step:08d}_{clip}.mp4"
        sound = batch.audio[i].float().cpu().numpy() if batch.audio is not None else None
        write_video(
            path,
            frames,
            fps,
            audio=sound,
            sample_rate=16000,
            metadata=dict(zip(_PLACES[len(shown)], shown, strict=True)) | {"step": step, "clip": batch.ids[i]},
        )
        return path


def _poses_drawn(batch: Any, i: int, generated: torch.Tensor, height: int) -> Iterator[np.ndarray]:
    """Frames of skeletons, the real one left and the generated one (T, 134, 3) right."""
    from models.human.draw import draw_pose  # brings OpenCV

    info = batch.infos[i] if batch.infos else None
    height = height // 2 * 2
    # A clip of motion alone has no picture size.
    aspect = info.width / info.height if info and info.width and info.height else 1.0
    width = round(height * aspect / 2) * 2
    poses = [batch.pose[i].float().cpu().numpy()] if batch.pose is not None else []
    for frame in zip(*poses, generated.numpy(), strict=False):
        yield np.concatenate([draw_pose(pose, height, width) for pose in frame], axis=1)


def _frames_beside(batch: Any, i: int, generated: torch.Tensor, height: int) -> Iterator[np.ndarray]:
    """Frames, the real one left and the generated one (T, 3, H, W) in [0, 1] right, brought to a height."""
    real = batch.video[i].cpu() / 255
    frames = min(len(real), len(generated))
    yield from _frames_as_they_are(batch, i, torch.cat([real[:frames], generated[:frames].clamp(0, 1)], -1), height)


def _frames_as_they_are(batch: Any, i: int, frames: torch.Tensor, height: int) -> Iterator[np.ndarray]:
    """Frames (T, 3, H, W) in [0, 1], brought to a height."""
    size = [height // 2 * 2, round(height * frames.shape[-1] / frames.shape[-2] / 2) * 2]
    for frame in frames:
        scaled = torch.nn.functional.interpolate(frame[None], size, mode="bilinear", antialias=True)
        yield (255 * scaled[0].clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _motions_drawn(batch: Any, i: int, generated: torch.Tensor, height: int) -> Iterator[np.ndarray]:
    """Frames of 22 joints, the real motion left and the generated one (M, 263) right."""
    from models.human.draw_joints import draw_joints  # brings OpenCV

    real = [batch.motion[i].float().cpu()] if batch.motion is not None else []
    frames = min(len(motion) for motion in (*real, generated))
    if batch.lengths is not None:  # what lies beyond is padding
        frames = min(frames, max(1, round(float(batch.lengths[i]) / batch.fps * FPS)))
    joints = torch.stack([recover_joints(motion[:frames]) for motion in (*real, generated)])
    yield from draw_joints(joints.numpy(), height // 2 * 2)


_PICTURES = {"pose": _poses_drawn, "motion": _motions_drawn, "video": _frames_beside, "beside": _frames_as_they_are}
_PLACES = {2: ("left", "right"), 3: ("left", "middle", "right")}


def _shown(kind: str) -> tuple[str, ...]:
    """What stands beside each other, from the left."""
    return ("reference", "real", "generated") if kind == "beside" else ("real", "generated")


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
