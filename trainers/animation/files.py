"""Writing what was generated: the skeleton video, the motion masks, the poses."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from datamodules.media.files import write_video
from models.human.draw import draw_poses
from models.human.motion_masks import NAMES, motion_masks
from settings.progress import Progress
from trainers.animation.request import SOUND_RATE, Request

_MASK_CRF: Final = 8  # edges of a mask stay sharp
_CHUNK: Final = 16  # frames of masks held at a time, so that memory does not grow with the video


@dataclass(frozen=True)
class Animation:
    """What `animate` made.

    Attributes:
        video: the mp4.
        frames: how many it has.
        fps: frames a second.
        metadata: what the video says of itself.
    """

    video: Path
    frames: int
    fps: float
    metadata: dict[str, Any]

    @property
    def beside(self) -> list[Path]:
        """Files that were written beside the video."""
        return []


@dataclass(frozen=True)
class PoseAnimation(Animation):
    """A pose video.

    Attributes:
        masks: the motion-mask videos by name.
        pose_file: npz of the poses, `keypoints` and `scores` as in a clip's pose.npz.
        poses: (T, 134, 3) as fractions of the frame and score.
    """

    masks: dict[str, Path]
    pose_file: Path
    poses: np.ndarray

    @property
    def beside(self) -> list[Path]:
        """The masks and the poses."""
        return [*self.masks.values(), self.pose_file]


def write_animation(request: Request, poses: np.ndarray, fps: float, model: dict[str, str]) -> PoseAnimation:
    """Write video, masks and poses beside each other, each whole or not at all.

    Args:
        request: what was asked for.
        poses: (T, 134, 3).
        fps: frames a second.
        model: name, stage and hash of the network, for the metadata.
    """
    metadata = request.metadata(model)
    pose_file = write_poses(request.out.with_suffix(".npz"), poses, (request.height, request.width), fps)
    masks = {}
    with Progress("writing masks and video", len(poses) * (len(NAMES) + 1), pause=10.0) as bar:
        for name in NAMES:
            path = request.out.with_suffix(f".{name}.mp4")
            frames = bar.over(mask_frames(poses, name, request.height, request.width))
            masks[name] = write_video(
                path, frames, fps, metadata={**metadata, "content": f"motion mask: {name}"}, crf=_MASK_CRF
            )
        # The video comes last: where it stands, everything else stands too.
        video = write_video(
            request.out,
            bar.over(draw_poses(poses, request.height, request.width)),
            fps,
            audio=request.sound,
            sample_rate=SOUND_RATE,
            metadata={**metadata, "content": "pose video"},
        )
    return PoseAnimation(video, len(poses), fps, metadata, masks, pose_file, poses)


def mask_frames(poses: np.ndarray, name: str, height: int, width: int) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8 of one motion mask (MMGT-13), one after another."""
    for start in range(0, len(poses), _CHUNK):
        for mask in motion_masks(poses[start : start + _CHUNK], height, width)[name]:
            yield np.repeat(mask[..., None], 3, axis=2)


def write_poses(path: Path, poses: np.ndarray, size: tuple[int, int], fps: float) -> Path:
    """Write poses (T, 134, 3) as a clip's pose.npz; missing points become (-1, -1) with score 0.

    Beside a clip's arrays stand `size`, height and width of the frames in pixels, which `frame_size` reads again, and
    `fps`, frames a second, so that whatever the poses drive moves as fast.
    """
    scores = np.clip(poses[..., 2], 0, 1)
    keypoints = np.where(scores[..., None] > 0, poses[..., :2], -1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez_compressed(
            file,
            keypoints=keypoints.astype(np.float32),
            scores=scores.astype(np.float32),
            size=np.array(size, np.int32),
            fps=np.array(fps, np.float32),
        )
    os.replace(temporary, path)
    return path
