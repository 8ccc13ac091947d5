"""Poses that drive a video: of a file of any system that makes them, or looked for in somebody else's video."""

from pathlib import Path
from typing import Final

import numpy as np

from datamodules.media.files import MediaError
from settings import get_logger
from settings.progress import Progress
from trainers.animation.frame_size import frame_size
from trainers.animation.request import LARGEST, has_person

MINIMUM_SCORE: Final = 0.1  # as in preprocessing
logger = get_logger(__name__)


def driving_poses(path: Path, fps: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Poses at a frame rate, and height and width of the frames that they were found in.

    A file (`pose.npz` of a clip or of `animate`, or DWPose's arrays) is brought from the rate that it states (array
    `fps`) to this one; where it states none it has this one, which is said. In a video the person is looked for. Frames
    in which nobody is seen hold the nearest pose, which is said.

    Args:
        path: npz, or any video.
        fps: frames a second that are wanted.

    Returns:
        (T, 134, 3) as fractions of the frame and score, with T the file's seconds times fps; (height, width).

    Raises:
        MediaError: neither of them, or nobody in it.
    """
    poses, size = _of_file(path, fps) if path.suffix.lower() == ".npz" else _of_video(path, fps)
    there = np.array([has_person(pose, face=False) for pose in poses])
    if not there.any():
        raise MediaError(f"{path}: none of its {len(poses)} poses shows a person")
    if not there.all():
        logger.warning(
            "%s: nobody is seen in %d of %d frames; they hold the nearest pose", path, sum(~there), len(there)
        )
        rows = np.flatnonzero(there)
        poses = poses[rows[np.interp(np.arange(len(poses)), rows, np.arange(len(rows))).round().astype(int)]]
    return poses, size


def at_rate(poses: np.ndarray, before: float, after: float, total: int) -> np.ndarray:
    """Poses (F, 134, 3) brought from one frame rate to another, the first `total` of them.

    The last is held where there are not as many.
    """
    from preprocessing.pose.sidecar import poses_at

    keypoints, scores = poses_at(poses[..., :2], poses[..., 2], np.arange(total) * before / after)
    scores = scores.clip(0, 1)
    keypoints = np.where(scores[..., None] > 0, keypoints, -1.0)
    return np.concatenate([keypoints, scores[..., None]], -1).astype(np.float32)


def _of_file(path: Path, fps: float) -> tuple[np.ndarray, tuple[int, int]]:
    from preprocessing.pose.sidecar import read_keypoints

    keypoints, scores, stated = read_keypoints(path)
    if stated is None:
        logger.warning("%s states no fps; its %d poses are taken for %g a second", path, len(scores), fps)
    rate = stated or fps
    if not np.isfinite(keypoints).all() or not np.isfinite(scores).all():
        raise MediaError(f"{path} has points that are no numbers")
    poses = np.concatenate([keypoints, scores[..., None]], -1)
    return at_rate(poses, rate, fps, max(1, round(len(poses) / rate * fps))), frame_size(path)


def _of_video(path: Path, fps: float) -> tuple[np.ndarray, tuple[int, int]]:
    from preprocessing.pose.frames import shrink
    from preprocessing.pose.holistic import Holistic
    from preprocessing.pose.mapping import to_134
    from preprocessing.videos.decode import SourceVideo

    find, poses = Holistic(), []
    with SourceVideo(path, fps, LARGEST) as video:
        with Progress("finding the driving poses", video.expected, pause=10.0) as bar:
            for slot in bar.over(video.slots()):
                poses.append(to_134(find(shrink(slot.rgb, 768)), MINIMUM_SCORE))
        size = video.height, video.width
    if not poses:
        raise MediaError(f"{path}: not one frame in it")
    return np.stack(poses), size
