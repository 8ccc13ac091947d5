"""Frames of a window of a video, only those decoded."""

import io
import itertools

import numpy as np
from torch.utils.dlpack import from_dlpack

from datamodules.clip import BadSample
from datamodules.media import MediaError, read_frames


def read_window(
    data: bytes, start: int, length: int, size: tuple[int, int] | None = None, clip_id: str = ""
) -> np.ndarray:
    """Frames `start` to `start + length` of an mp4 as (T, H, W, 3) uint8 RGB.

    Opens the video anew each time: a reader that was opened before a fork hangs the loader's workers, and one that is
    kept holds the decoder's memory.

    Args:
        data: the mp4.
        start, length: in frames.
        size: height and width in pixels to scale to; the video's own where None.
        clip_id: for messages.

    Raises:
        BadSample: damaged, or shorter than the window.
    """
    import decord  # only here: its library must not be loaded into a process that forks workers
    from decord._ffi.base import DECORDError

    height, width = size or (-1, -1)
    try:
        reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), height=height, width=width, num_threads=1)
        if start + length > len(reader):
            raise BadSample("video.mp4: fewer frames than clip.json says", clip_id)
        # Handed over, not copied: the copy would cost a fifth of the decoding.
        return from_dlpack(reader.get_batch(range(start, start + length)).to_dlpack()).numpy()
    except (RuntimeError, DECORDError, EOFError) as error:
        if "size must exactly match" in str(error):  # decord 0.6 cannot make rows of 16, 24, 48 or 72 pixels
            return _read_in_turn(data, start, length, size, clip_id)
        raise BadSample(f"video.mp4: cannot be decoded ({type(error).__name__})", clip_id) from None


def _read_in_turn(data: bytes, start: int, length: int, size: tuple[int, int] | None, clip_id: str) -> np.ndarray:
    """As `read_window`, decoding from the first frame on."""
    import cv2

    try:
        frames = list(itertools.islice(read_frames(data), start, start + length))
    except MediaError:
        raise BadSample("video.mp4: cannot be decoded (MediaError)", clip_id) from None
    if size:
        frames = [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(frames)
