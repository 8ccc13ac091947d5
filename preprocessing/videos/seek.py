"""Where the frames of a file stand in time, and how to come to one of them without decoding those before it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import av
import numpy as np

from datamodules.media.container import BAD, MediaError, open_container, picture_track, read_packets, words

MARGINS: Final = (Fraction(1), Fraction(12), None)
"""Seconds before a moment to which is jumped, one after the other until a picture before it comes out; the last one
is the start of the file. Key frames are found by when they are decoded, which is earlier than when they are shown."""


def packets_from(
    container: av.container.InputContainer, stream: av.stream.Stream, moment: Fraction | None, warnings: list[str]
) -> Iterator[av.Packet]:
    """A stream's packets from the last key frame before a moment on.

    Args:
        container: the open file.
        stream: of it.
        moment: on the container's clock; None is the start of the file.
        warnings: a damaged end is noted here.

    Raises:
        MediaError: the file cannot be wound.
    """
    waiting = moment is not None
    if moment is not None:
        jump(container, stream, moment)
    for packet in read_packets(container, stream, warnings):
        if waiting and packet.size and not packet.is_keyframe:
            continue
        waiting = False
        yield packet


def jump(container: av.container.InputContainer, stream: av.stream.Stream, moment: Fraction) -> None:
    """Wind a file that was just opened to the last key frame before a moment; not at all where that is its start.

    Raises:
        MediaError: it cannot be wound.
    """
    begin = Fraction(container.start_time or 0, av.time_base)
    if moment <= begin:
        return
    try:
        container.seek(int(moment / (stream.time_base or 1)), stream=stream)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{container.name} cannot be wound to {float(moment - begin):.1f} s ({error})") from None


def frame_stamps(path: Path) -> tuple[np.ndarray, float]:
    """When each frame of a video is shown, by its packets, and the mean rate; nothing is decoded.

    Returns:
        (F,) float64 seconds on the container's clock, sorted; NaN where the file does not say. And frames a second.

    Raises:
        MediaError: it cannot be read, or has no frames.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise MediaError(f"{path} is not a video that can be read ({error.strerror})") from None
    return _stamps(path, state.st_size, state.st_mtime_ns)


def video_seconds(path: Path) -> float:
    """Where the pictures of a video end, in seconds from where its container starts. Raises MediaError."""
    stamps, rate = frame_stamps(path)
    with open_container(path) as container:
        begin = (container.start_time or 0) / av.time_base
    last = float(np.nanmax(stamps)) - begin if np.isfinite(stamps).any() else (len(stamps) - 1) / rate
    return last + 1 / rate


@lru_cache(maxsize=8)
def _stamps(path: Path, size: int, changed: int) -> tuple[np.ndarray, float]:
    try:
        with open_container(path) as container:
            stream = picture_track(container, path)
            base = float(stream.time_base or 1)
            found = [
                float("nan") if packet.pts is None else packet.pts * base
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
            rate = float(stream.average_rate or stream.guessed_rate or 0)
    except MediaError:
        raise
    except BAD as error:
        raise MediaError(f"{path} is not a video that can be read ({words(error)})") from None
    if not found or not rate:
        raise MediaError(f"{path} has no frames, or no frame rate")
    return np.sort(np.array(found)), rate
