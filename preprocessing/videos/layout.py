"""How the pictures of a video lie in its output: its size, the part that is cut out, and pictures of another shape."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final, Literal

import av
import numpy as np

from preprocessing.videos.picture import Painter, orientation, transfer_of
from preprocessing.videos.span import Crop

SAME_SHAPE: Final = 0.02  # another size whose sides are as long to each other within this is the same shape


class Layout:
    """The sizes of the output, of the whole picture at its scale, and where in this the output lies.

    Args:
        stream: the picture track.
        first: the first frame, by which the sizes are.
        size: a side of the output in pixels; never enlarged; sides are made even.
        side: which side `size` means.
        crop: the part of the picture; `size` is then its own.
        facts: gets `tone_mapped` (pq or hlg) and `size_changes`, as they are found out.
        warnings: get both in words.

    Attributes:
        width, height: of the output, in pixels.
        crop: left, top, right, bottom of the output as fractions of the picture, as it came out on whole pixels; None
            without one.
    """

    def __init__(
        self,
        stream: av.VideoStream,
        first: av.VideoFrame,
        size: int,
        side: Literal["longest", "shortest"],
        crop: Crop | None,
        facts: dict[str, Any],
        warnings: list[str],
    ) -> None:
        self._stream, self._facts, self._warnings = stream, facts, warnings
        self._painter = Painter()
        # Of the last frame: its size as stored and whether it lies on its side; the size at which it fits.
        self._kind: tuple[int, int, bool] | None = None
        self._inner: tuple[int, int] | None = None
        self.crop: tuple[float, float, float, float] | None = None
        width, height = self._shape = self._first_shape = self._shown_size(first, orientation(first)[0])
        if transfer := transfer_of(first):
            self._facts["tone_mapped"] = transfer
            self._warnings.append(f"HDR ({transfer.upper()}): tone mapped to ordinary brightness")
        left, top, right, bottom = (0, 0, width, height) if crop is None else crop.pixels(float(width), float(height))
        part = Fraction(right) - Fraction(left), Fraction(bottom) - Fraction(top)
        scale = min(Fraction(1), Fraction(size) / (max(part) if side == "longest" else min(part)))
        self.width, self.height = (max(2, int(edge * scale / 2 + Fraction(1, 2)) * 2) for edge in part)
        self._whole, self._corner = (self.width, self.height), (0, 0)
        if crop is None:
            return
        across, down = self.width / part[0], self.height / part[1]
        whole = max(round(width * across), self.width), max(round(height * down), self.height)
        x, y = min(round(left * across), whole[0] - self.width), min(round(top * down), whole[1] - self.height)
        self._whole, self._corner = whole, (x, y)
        self.crop = (x / whole[0], y / whole[1], (x + self.width) / whole[0], (y + self.height) / whole[1])

    def paint(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame as it comes out, (height, width, 3) uint8 RGB, upright."""
        left, top = self._corner
        return np.ascontiguousarray(self._upright(frame)[top : top + self.height, left : left + self.width])

    def _shown_size(self, frame: av.VideoFrame, transposed: bool) -> tuple[Fraction, Fraction]:
        """Width and height as a player shows them: upright, with square pixels."""
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        width, height = frame.width * (aspect if aspect > 0 else Fraction(1)), Fraction(frame.height)
        return (height, width) if transposed else (width, height)

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        """The whole picture at its scale; one of another shape than the first stands in the middle of a black one."""
        turn = orientation(frame)
        kind = frame.width, frame.height, turn[0]
        if kind != self._kind:
            self._kind, self._inner = kind, self._fitted(frame, turn[0])
        if self._inner is None:
            return self._painter.paint(frame, *self._whole, turn)
        across, down = self._whole
        width, height = self._inner
        left, top = (across - width) // 2, (down - height) // 2
        picture = np.zeros((down, across, 3), np.uint8)
        picture[top : top + height, left : left + width] = self._painter.paint(frame, width, height, turn)
        return picture

    def _fitted(self, frame: av.VideoFrame, transposed: bool) -> tuple[int, int] | None:
        """The size at which frames of this kind fit into the picture; None where they fill it."""
        width, height = shape = self._shown_size(frame, transposed)
        if shape != self._shape:
            self._shape = shape
            self._facts["size_changes"] = self._facts.get("size_changes", 0) + 1
            if self._facts["size_changes"] == 1:
                self._warnings.append(
                    "the picture changes its size on the way: all of it is brought to the first one's, with black "
                    "borders where the shape differs"
                )
        if abs(width / height / (self._first_shape[0] / self._first_shape[1]) - 1) < SAME_SHAPE:
            return None
        across, down = self._whole
        scale = min(across / width, down / height)
        return min(max(round(width * scale), 2), across), min(max(round(height * scale), 2), down)
