"""One decoded frame as an RGB picture: right colours, right size, upright as a player shows it."""

from __future__ import annotations

from typing import Final, cast

import av
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc, VideoReformatter
from typing_extensions import Buffer

from preprocessing.videos.tonemap import Transfer, tone_map

_HDR: Final[dict[int, Transfer]] = {int(ColorTrc.SMPTE2084): "pq", int(ColorTrc.ARIB_STD_B67): "hlg"}
_UNSPECIFIED: Final = 2

Turn = tuple[bool, bool, bool]
"""How the stored picture becomes the shown one: (transpose, then flip left-right, then flip upside down)."""


def transfer_of(frame: av.VideoFrame) -> Transfer | None:
    """The HDR curve of a frame; None for an ordinary one."""
    return _HDR.get(int(frame.color_trc))


def orientation(frame: av.VideoFrame) -> Turn:
    """How the stored picture becomes the shown one.

    Read from the display matrix [a b u; c d v; x y w], which takes a stored point (p, q) to (a p + c q + x,
    b p + d q + y): turns of 90 degrees and mirrorings as FFmpeg shows them, another angle as the nearest of those.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None or len(data := bytes(cast(Buffer, matrix))) < 36:
        return False, False, False
    a, b, _, c, d = np.frombuffer(data[:20], np.int32)
    if abs(int(a)) + abs(int(d)) >= abs(int(b)) + abs(int(c)):
        return False, bool(a < 0), bool(d < 0)
    return True, bool(c < 0), bool(b < 0)


def colour_matrix(frame: av.VideoFrame) -> Colorspace | None:
    """The YCbCr matrix of a frame that does not state it: BT.709 for HD, else BT.601; None where it is stated.

    The border is that of players such as mpv: wider than 1279 or higher than 576.
    """
    if int(frame.colorspace) != _UNSPECIFIED:
        return None
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


class Painter:
    """Frames of one video as pictures. What FFmpeg works out for a kind of frame is kept for those that follow."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def paint(self, frame: av.VideoFrame, width: int, height: int, turn: Turn) -> np.ndarray:
        """A frame as (height, width, 3) uint8 sRGB, upright; HDR is tone mapped.

        Args:
            frame: as decoded.
            width: of the upright picture.
            height: of the upright picture.
            turn: its `orientation`.
        """
        transpose, mirror, upside_down = turn
        if transpose:
            width, height = height, width
        transfer = transfer_of(frame)
        scaled = self._scaler.reformat(
            frame,
            width,
            height,
            "rgb24" if transfer is None else "rgb48le",
            src_colorspace=colour_matrix(frame),
            interpolation="AREA",
            threads=1,  # one process a video is the parallelism here
        )
        picture = scaled.to_ndarray()
        if transfer is not None:
            picture = tone_map(picture, transfer)
        if transpose:
            picture = picture.transpose(1, 0, 2)
        if mirror:
            picture = picture[:, ::-1]
        return np.ascontiguousarray(picture[::-1] if upside_down else picture)
