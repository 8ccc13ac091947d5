"""How large the picture is that a file of poses belongs to: poses are fractions of it, and have no shape without it."""

import json
from pathlib import Path
from typing import Final

import numpy as np

from settings import get_logger

PLAIN: Final = (512, 512)  # height and width where nothing tells
_CLIP: Final = ".pose.npz"
_VIDEOS: Final = (".mp4", ".mov", ".mkv", ".webm", ".avi")
logger = get_logger(__name__)


def frame_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels of the frames that a file of poses was found in.

    The file's own array `size` tells it, or the clip.json (an unpacked shard) or the video of the same name beside it.
    Where nothing does, a square, and a line that says so.
    """
    size = _stated(path) or _beside(path)
    if size is None:
        logger.warning(
            "%s does not say the shape of its frames, so they are drawn as a square: for another shape add an array "
            "size (height, width) to it, or give image=PICTURE as well",
            path,
        )
    return size or PLAIN


def _stated(path: Path) -> tuple[int, int] | None:
    with np.load(path, allow_pickle=False) as archive:
        return _pair(archive["size"]) if "size" in archive.files else None


def _beside(path: Path) -> tuple[int, int] | None:
    from datamodules.media.files import MediaError
    from preprocessing.videos.decode import SourceVideo

    stem = path.name.removesuffix(_CLIP) if path.name.endswith(_CLIP) else path.stem
    clip = path.with_name(f"{stem}.clip.json")
    if clip.is_file():
        try:
            info = json.loads(clip.read_text(encoding="utf-8"))
            return _pair([info["height"], info["width"]])
        except (ValueError, KeyError, TypeError):
            return None
    for ending in _VIDEOS:
        if (video := path.with_name(stem + ending)).is_file():
            try:
                with SourceVideo(video, 1.0, 100_000) as source:
                    return source.height, source.width
            except MediaError:
                return None
    return None


def _pair(values: object) -> tuple[int, int] | None:
    """Two positive numbers, or None."""
    numbers = np.asarray(values)
    if numbers.shape != (2,) or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        return None
    height, width = (round(float(number)) for number in numbers)
    return (height, width) if height > 0 and width > 0 else None
