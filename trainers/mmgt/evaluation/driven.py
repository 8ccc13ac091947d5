"""Where frames and poses of an answer come from that no video network makes: training clips, and SMGA."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.clips import read_clips
from datamodules.media.fitting import Fit, FitMode
from datamodules.media.video import read_window
from settings import ConfigError
from trainers.evaluation.evaluator import describe, load_evaluator
from trainers.evaluation.exchange import exchanged
from trainers.evaluation.pose_figures import measure_talks
from trainers.evaluation.talks import Talk
from trainers.mmgt.animation import SMGAAnimator
from trainers.mmgt.system import VideoFigureOptions
from trainers.run.exports import find_export

SMGA: Final = "mmgt.smga"


def frames_at(
    shards: str, places: Sequence[tuple[str, int, int]], size: tuple[int, int], how: FitMode = "crop"
) -> Tensor:
    """Frames of clips one behind the other, (T, 3, H, W) uint8.

    Args:
        shards: folder or URL.
        places: clip, first frame, number of frames of each piece.
        size, how: frames come to that height and width.
    """
    found: dict[tuple[str, int, int], np.ndarray] = {}
    for info, values in read_clips(shards, ("video.mp4",), where={"id": sorted({clip for clip, _, _ in places})}):
        fit = Fit.of(info.height, info.width, size, how)
        for place in places:
            if place[0] == info.id:
                found[place] = read_window(values["video.mp4"], place[1], place[2], fit, info.id)
    frames = np.concatenate([found[place] for place in places])
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


class Poses:
    """Poses that SMGA makes of speech, for videos that speech alone drives (MMGT-22), and their figures.

    Args:
        options: of the measuring.
        folder: where a pose autoencoder is kept that is trained now.
        fps: of the video network.

    Raises:
        ConfigError: another stage's network, or one of another frame rate.
    """

    def __init__(self, options: VideoFigureOptions, folder: Path, fps: float):
        export = find_export(str(options.smga))
        if export.stage != SMGA:
            raise ConfigError(f"smga={options.smga} is a network of {export.stage}; one of {SMGA} is needed")
        self.animator = SMGAAnimator(export, device=options.device)
        if abs(self.animator.fps - fps) > 1e-3:
            raise ConfigError(
                f"smga={options.smga} makes poses at {self.animator.fps:g} frames a second, the video network was "
                f"trained at {fps:g}"
            )
        self.batch = options.batch
        self.encoder, encoder = load_evaluator(
            options.evaluator, folder / "evaluator", options.shards, options.evaluator_config
        )
        self.evaluator = describe(encoder)

    def of(self, talks: Sequence[Talk], seeds: Sequence[int]) -> dict[tuple[str, int], list[np.ndarray]]:
        """Poses (T, 134, 3) of every clip, by row ("model", "shuffled_audio") and seed."""
        own = [self.animator.hear(dict(talk.speech), talk.info.id) for talk in talks]
        return {
            (row, seed): made_poses(
                self.animator, talks, own if row == "model" else exchanged(own, seed), seed, self.batch
            )
            for row in ("model", "shuffled_audio")
            for seed in seeds
        }

    def measure(
        self,
        row: str,
        seed: int,
        talks: Sequence[Talk],
        generated_poses: Mapping[tuple[str, int], Sequence[np.ndarray]],
    ) -> dict[str, Any]:
        """FGD, Diversity and BAS of a row's poses; nothing for rows that have none of their own."""
        poses = [talk.pose for talk in talks] if row == "truth" else generated_poses.get((row, seed))
        if poses is None:
            return {}
        return measure_talks(poses, [talk.pose for talk in talks], talks, self.encoder)


def made_poses(
    animator: SMGAAnimator, talks: Sequence[Talk], speech: Sequence[np.ndarray], seed: int, batch: int
) -> list[np.ndarray]:
    """Poses of clips from their first poses and speech (T, C), in batches of clips of nearly one length."""
    from trainers.mmgt.evaluation.gestures import batches

    poses: list[np.ndarray] = [np.zeros(0)] * len(talks)
    for number, part in enumerate(batches([talk.frames for talk in talks], batch)):
        output = animator.poses([talks[i].pose[0] for i in part], [speech[i] for i in part], seed=seed + 1000 * number)
        for i, one in zip(part, output, strict=True):
            poses[i] = one
    return poses
