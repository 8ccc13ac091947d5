"""Key points that stand beside the video: made by somebody's own detector, or known exactly."""

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from datamodules.media.files import MediaError
from models.human.keypoints import BODY, FACE, LEFT_HAND, POINTS, RIGHT_HAND
from preprocessing.step import Draft
from preprocessing.videos.seek import frame_stamps
from settings import ConfigError
from settings.ranges import Fps, Fraction

_DWPOSE: Final = {"body": (18, 2), "hands": (2, 21, 2), "face": (68, 2)}
_SLACK: Final = 2  # frames by which a file may be shorter or longer than its video: encoders drop and double ends


class SidecarPose:
    """Key points from `NAME.pose.npz` beside `NAME.mp4`.

    Two formats: the schema's own (`keypoints` (F, 134, 2), `scores` (F, 134)), and DWPose's (`body` (F, 18, 2), `hands`
    (F, 2, 21, 2), left first, `face` (F, 68, 2), each with `*_score`; feet are missing). Coordinates are fractions of
    the frame, scores above 1 are clipped, (-1, -1) is missing. F rows are the frames of the source video, or, when
    the file has an array `fps` (or `fps` is given here), moments at that rate, between which points are interpolated.
    Adds `pose.npz`. A file belongs to the whole video: of a span or a crop its part is taken.

    Args:
        fps: rate of files that do not state one; null: one row for every frame of the video.
        minimum_score: points with a lower score are stored as missing, in [0, 1].
    """

    def __init__(self, fps: Fps | None = None, minimum_score: Fraction = 0.0) -> None:
        if fps is not None and fps <= 0:
            raise ConfigError(f"pose fps {fps}: has to be positive")
        self.fps, self.minimum_score = fps, minimum_score

    def __call__(self, draft: Draft) -> None:
        """Cut the clip's own time out of the file.

        Raises:
            MediaError: no such file, not one of the two formats, NaN, or of another length than the video.
        """
        path = draft.source.sidecar / f"{draft.source.path.stem}.pose.npz"
        keypoints, scores, stated = read_keypoints(path)
        stamps, rate = frame_stamps(draft.source.path)
        frames = len(stamps)
        shown = np.arange(draft.info.frames) if draft.source_frames is None else draft.source_frames
        fps = stated or self.fps
        if fps is None:
            if abs(len(keypoints) - frames) > _SLACK:
                raise MediaError(
                    f"{path} has {len(keypoints)} rows, {draft.source.path.name} has {frames} frames; "
                    "where the key points have a rate of their own, state it as an array fps in the file or as pose.fps"
                )
            position = shown.astype(np.float64)
        else:
            expected = frames / rate * fps
            if abs(len(keypoints) - expected) > max(_SLACK, 0.01 * expected):
                raise MediaError(
                    f"{path} has {len(keypoints)} rows at {fps:g} a second, {draft.source.path.name} lasts "
                    f"{frames / rate:.2f} s: about {expected:.0f} were expected"
                )
            position = (shown[0] / rate + np.arange(draft.info.frames) / draft.fps) * fps
        points, scores = poses_at(keypoints, scores, position)
        if draft.crop is not None:
            left, top, right, bottom = draft.crop
            points = (points - (left, top)) / (right - left, bottom - top)
        scores = scores.clip(0, 1)
        missing = (scores <= 0) | (scores < self.minimum_score)
        points[missing], scores[missing] = -1, 0
        draft.arrays["pose.npz"] = {"keypoints": points.astype(np.float32), "scores": scores.astype(np.float32)}


def read_keypoints(path: Path) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Key points of a file in either format: (F, 134, 2), (F, 134), and the rate where it is stated.

    Raises:
        MediaError: what `SidecarPose` says.
    """
    if not path.is_file():
        raise MediaError(_missing(path))
    if not zipfile.is_zipfile(path):
        raise MediaError(f"{path} is not an npz file that can be read")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and numpy each raise kinds of their own for damaged files
        if "pickle" in str(error):
            raise MediaError(
                f"{path} holds pickled objects, which are refused because reading them can run code"
            ) from None
        raise MediaError(f"{path} is not an npz file that can be read ({type(error).__name__})") from None
    if "keypoints" in arrays:
        points, scores = _array(path, arrays, "keypoints", (POINTS, 2)), _array(path, arrays, "scores", (POINTS,))
    elif "body" in arrays:
        points, scores = _from_dwpose(path, arrays)
    else:
        raise MediaError(
            f"{path} has the arrays {', '.join(arrays) or '(none)'}; wanted are keypoints and scores, "
            "or DWPose's body, hands, face with body_score, hands_score, face_score"
        )
    lengths = {len(points), len(scores)}
    if len(lengths) > 1 or not len(points):
        raise MediaError(f"{path}: {len(points)} rows of points and {len(scores)} of scores")
    fps = float(arrays["fps"]) if "fps" in arrays and np.size(arrays["fps"]) == 1 else None
    if "fps" in arrays and not (fps and np.isfinite(fps) and fps > 0):
        raise MediaError(f"{path}: fps has to be one positive number")
    scores = np.where((points == -1).all(-1), 0, scores)
    return points, scores, fps


def _from_dwpose(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    parts = {name: _array(path, arrays, name, shape) for name, shape in _DWPOSE.items()}
    values = {name: _array(path, arrays, f"{name}_score", shape[:-1]) for name, shape in _DWPOSE.items()}
    if len({len(part) for part in [*parts.values(), *values.values()]}) > 1:
        raise MediaError(f"{path}: body, hands and face have different numbers of rows")
    points = np.full((len(parts["body"]), POINTS, 2), -1, np.float32)
    scores = np.zeros(points.shape[:2], np.float32)
    for target, part, value in (
        (BODY, parts["body"], values["body"]),
        (LEFT_HAND, parts["hands"][:, 0], values["hands"][:, 0]),
        (RIGHT_HAND, parts["hands"][:, 1], values["hands"][:, 1]),
        (FACE, parts["face"], values["face"]),
    ):
        points[:, target], scores[:, target] = part, value
    return points, scores


def _array(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array (F, *shape) as float32, checked."""
    if name not in arrays:
        raise MediaError(f"{path}: the array {name} is missing")
    array = arrays[name]
    if array.shape[1:] != shape or array.ndim != len(shape) + 1 or array.dtype.kind not in "fiu":
        raise MediaError(
            f"{path}: {name} is {array.shape} {array.dtype}, wanted is (frames, {', '.join(map(str, shape))}) numbers"
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
        raise MediaError(f"{path}: {name} has NaN or infinite numbers, first in row {row}")
    return array.astype(np.float32)


def _missing(path: Path) -> str:
    stem = path.name.removesuffix(".pose.npz")
    others = [path.with_name(f"{stem}.pose.{end}") for end in ("pkl", "pickle", "npy")]
    folders = [folder for folder in (path.with_name(stem), path.with_name(f"{stem}.pose")) if folder.is_dir()]
    others += [
        file for folder in folders for file in sorted(folder.glob("*.np[yz]"))[:1] + sorted(folder.glob("*.pkl"))[:1]
    ]
    for other in others:
        if other.is_file():
            return (
                f"no key points at {path}; {other} looks like pickled ones, which are refused because reading them can "
                "run code: load them "
                "where you trust them and save body, hands and face with their scores by numpy.savez"
            )
    return f"no key points at {path}; pose=sidecar wants them beside the video, pose=mediapipe finds them itself"


def poses_at(keypoints: np.ndarray, scores: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and scores at fractional rows (T,), linearly where both neighbours are seen, else from the nearer one."""
    position = position.clip(0, len(keypoints) - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(keypoints) - 1)
    share = (position - low)[:, None]
    both = (scores[low] > 0) & (scores[high] > 0)
    share = np.where(both, share, np.rint(share))[..., None]
    points = keypoints[low] * (1 - share) + keypoints[high] * share
    return points, scores[low] * (1 - share[..., 0]) + scores[high] * share[..., 0]
