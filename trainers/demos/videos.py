"""One's own videos and pictures in a demo: how large they have to be kept, and how a portrait is cut."""

import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from models.human.keypoints import FACE
from settings.progress import follow
from trainers.demos.steps import DemoError

LEAST: Final = 256  # pixels of the longest side that is kept at least
MOST: Final = 1024  # and at most: beyond it nothing gets better but everything slower
_LOOKED_AT: Final = 8  # videos


class Size(NamedTuple):
    """How videos are kept.

    Attributes:
        side: pixels of the side that `preprocessing.run size=` means.
        reason: why, in words.
    """

    side: int
    reason: str


def choose_size(videos: str, face: int = 64, shortest: bool = False) -> Size:
    """How large one's own videos have to be kept so that the smallest face, brows to chin, has enough pixels.

    The first two seconds of some of the videos are looked at.

    Args:
        videos: folder, glob or manifest.
        face: pixels that a face should be high.
        shortest: the size is of the shorter side (videos that are cut square).

    Raises:
        DemoError: no videos there.
    """
    from preprocessing.sources.manifest import ManifestError, read_sources

    try:
        sources = read_sources(videos)
    except ManifestError as error:
        raise DemoError(str(error)) from None
    chosen = [sources[i] for i in np.unique(np.linspace(0, len(sources) - 1, _LOOKED_AT).round().astype(int))]
    looks = [look for source in follow(chosen, "looking for faces in videos") if (look := _look(Path(source.path)))]
    if not looks:
        return Size(512, f"no face was found at the beginning of {len(chosen)} videos; they are kept at 512 pixels")
    wanted = max(face / high * (min(shape) if shortest else max(shape)) for high, shape in looks)
    whole = max(min(shape) if shortest else max(shape) for _, shape in looks)
    side = min(max(LEAST, math.ceil(wanted / 32) * 32), MOST, whole)
    smallest, (height, width) = min(looks, key=lambda look: look[0] / max(look[1]))
    kept = smallest * side / (min(height, width) if shortest else max(height, width))
    reason = (
        f"the smallest face is {smallest:.0f} pixels high in {width} x {height}; kept at {side} pixels of the "
        f"{'shorter' if shortest else 'longer'} side it has {kept:.0f}"
    )
    return Size(
        side, reason + ("" if kept >= 0.9 * face else f" (too few for good lips: {face} would do, come closer)")
    )


def _look(path: Path) -> tuple[float, tuple[int, int]] | None:
    """Height of the face and size (height, width) of a video, in pixels of its own; None where nobody is found."""
    from datamodules.media.files import MediaError
    from preprocessing.videos.decode import SourceVideo

    try:
        with SourceVideo(path, 2.0, 100_000) as video:
            frames = [slot.rgb for _, slot in zip(range(4), video.slots(), strict=False)]
            shape = (video.height, video.width)
    except MediaError:
        return None
    found = [high for high in map(face_height, frames) if high]
    return (float(np.median(found)), shape) if found else None


def face_height(picture: np.ndarray) -> float | None:
    """Pixels from brows to chin in a picture (H, W, 3) uint8; None unless it shows one person."""
    points = _face_points(picture, "a frame")
    return None if points is None else float(np.ptp(points[:, 1]))


def cut_portrait(picture: Path, share: float, output: Path, size: int = 512) -> Path:
    """Cut a picture square around the person, with the face as high as in videos that were cut with `crop.face`.

    Args:
        picture: the file.
        share: height of the face, brows to chin, as a share of the square's.
        output: the PNG to write.
        size: pixels of its side at most.

    Raises:
        DemoError: nobody in the picture, or it cannot be read.
    """
    from PIL import Image

    from datamodules.media.container import MediaError
    from datamodules.media.picture import read_image
    from preprocessing.videos.square import Square

    try:
        pixels = read_image(picture)
    except MediaError as error:
        raise DemoError(str(error)) from None
    points = _face_points(pixels, str(picture))
    if points is None:
        raise DemoError(f"image={picture}: nobody is found in it, or several people; give a picture of one person")
    height, width = pixels.shape[:2]
    middle = points.mean(0)
    square = Square.around(width, height, (float(middle[0]), float(middle[1])), float(np.ptp(points[:, 1])) / share)
    Image.fromarray(square.cut(pixels, min(size, square.side))).save(output)
    return output


def _face_points(picture: np.ndarray, name: str) -> np.ndarray | None:
    """Points (n, 2) of the face in pixels."""
    from preprocessing.pose import MorePeopleFound, NoPersonFound, detect_image

    try:
        face = detect_image(picture, name=name)[FACE]
    except (MorePeopleFound, NoPersonFound):
        return None
    height, width = picture.shape[:2]
    points = face[face[:, 2] > 0, :2]
    return points * (width, height) if len(points) > 1 else None
