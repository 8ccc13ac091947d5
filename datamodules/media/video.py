"""Frames of a window of a video, only those decoded."""

import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.dlpack import from_dlpack

from datamodules.clip import BadSample
from datamodules.media.files import MediaError, read_frames
from datamodules.media.fitting import Fit

Room = Callable[[tuple[int, int, int, int]], np.ndarray]


def new_room(shape: tuple[int, int, int, int]) -> np.ndarray:
    """Fresh memory for the frames of a window."""
    return np.empty(shape, np.uint8)


def read_window(
    data: bytes,
    start: int,
    length: int,
    size: tuple[int, int] | Fit | None = None,
    clip_id: str = "",
    room: Room = new_room,
) -> np.ndarray:
    """Frames `start` to `start + length` of an mp4 as (T, H, W, 3) uint8 RGB.

    Opens the video anew each time: a reader that was opened before a fork hangs the loader's workers, and one that is
    kept holds the decoder's memory. Each frame is moved as soon as it is decoded, while it lies in the cache: decord's
    own batches cost a tenth more before they are moved anywhere.

    Args:
        data: the mp4.
        start, length: in frames.
        size: height and width in pixels to scale to, or how frames of another shape are fitted; the video's own where
            None.
        clip_id: for messages.
        room: gives the memory that the frames shall be in.

    Raises:
        BadSample: damaged, or shorter than the window.
    """
    import decord  # only here: its library must not be loaded into a process that forks workers
    from decord._ffi.base import DECORDError

    fit = Fit(size, size) if isinstance(size, tuple) else size
    height, width = fit.scaled if fit else (-1, -1)
    try:
        reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), height=height, width=width, num_threads=1)
        if start + length > len(reader):
            raise BadSample("video.mp4: fewer frames than clip.json says", clip_id)
        reader.seek_accurate(start)
        frame = _next_frame(reader)
        if frame.shape[2] != 3:  # decord 0.6 pads rows of 16, 24, 48 or 72 pixels
            return _read_in_turn(data, start, length, fit, clip_id, room)
        put, frames = _room_for(frame.shape, length, fit, room)
        put(frame, frames[0])
        for number in range(1, length):
            put(_next_frame(reader), frames[number])
        return frames
    except (RuntimeError, DECORDError, EOFError, StopIteration) as error:
        raise BadSample(f"video.mp4: cannot be decoded ({type(error).__name__})", clip_id) from None


def _room_for(
    shape: tuple[int, ...], length: int, fit: Fit | None, room: Room
) -> tuple[Callable[[np.ndarray, np.ndarray], None], np.ndarray]:
    """What writes a frame, and memory for so many."""
    if fit is None or not fit.changes:
        return _write, room((length, shape[0], shape[1], 3))
    frames = room((length, *fit.size, 3))
    if fit.mode == "pad":
        frames[:] = 0
    return fit.put, frames


def _write(frame: np.ndarray, into: np.ndarray) -> None:
    into[:] = frame


def _next_frame(reader: Any) -> np.ndarray:
    """(H, W, 3), handed over by decord, not copied."""
    return from_dlpack(reader.next().to_dlpack()).numpy()


def _read_in_turn(data: bytes, start: int, length: int, fit: Fit | None, clip_id: str, room: Room) -> np.ndarray:
    """As `read_window`, decoding from the first frame on."""
    import cv2

    try:
        frames = list(itertools.islice(read_frames(data), start, start + length))
    except MediaError:
        raise BadSample("video.mp4: cannot be decoded (MediaError)", clip_id) from None
    if fit:
        frames = [cv2.resize(frame, fit.scaled[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
    put, output = _room_for(frames[0].shape, len(frames), fit, room)
    for frame, into in zip(frames, output, strict=True):
        put(frame, into)
    return output
