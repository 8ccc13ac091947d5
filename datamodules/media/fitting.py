"""Oblong frames into another shape without stretching them: cropped, or between bars."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

FitMode = Literal["crop", "pad"]
_NEARLY: Final = 0.01  # shapes that differ by less are one: codecs want even numbers of rows


@dataclass(frozen=True)
class Fit:
    """How frames of one size come to another.

    Attributes:
        size: height and width that is wanted.
        scaled: height and width to decode at, in the frames' own shape.
        top, left: where the wanted part begins in the scaled frame (crop), or the scaled frame in the wanted one (pad).
        mode: which of the two.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    top: int = 0
    left: int = 0
    mode: FitMode = "crop"

    @classmethod
    def of(cls, height: int, width: int, size: tuple[int, int], mode: FitMode = "crop") -> "Fit":
        """How frames of a height and width come to `size`; one of 0, which nobody knows, passes for the same shape.

        Args:
            height, width: of the frames.
            size: height and width that is wanted.
            mode: "crop" takes the middle, "pad" puts bars of black around.
        """
        if not height or not width or abs(height * size[1] / (width * size[0]) - 1) < _NEARLY:
            return cls(size, size, mode=mode)
        ratios = (size[0] / height, size[1] / width)
        scale = max(ratios) if mode == "crop" else min(ratios)
        scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
        top, left = (abs(whole - part) // 2 for whole, part in zip(scaled, size, strict=True))
        return cls(size, scaled, top, left, mode)

    @property
    def changes(self) -> bool:
        """Whether anything is cut off or added."""
        return self.scaled != self.size

    @property
    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale (2,) and shift (2,) that make fractions x and y of the frame those of the fitted one."""
        sign = -1 if self.mode == "crop" else 1
        scale = np.array([self.scaled[1] / self.size[1], self.scaled[0] / self.size[0]], np.float32)
        return scale, sign * np.array([self.left / self.size[1], self.top / self.size[0]], np.float32)

    def put(self, frame: np.ndarray, into: np.ndarray) -> None:
        """Write a scaled frame (h, w, 3) into one of the wanted size; the bars have to be black already."""
        (height, width), top, left = self.size, self.top, self.left
        if self.mode == "crop":
            into[:] = frame[top : top + height, left : left + width]
        else:
            into[top : top + self.scaled[0], left : left + self.scaled[1]] = frame

    def moved(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2 or more), x and y as fractions of the frame first, as fractions of the fitted one.

        A missing point, (-1, -1), stays one.
        """
        if not self.changes:
            return points
        scale, shift = self.line
        missing = (points[..., :2] == -1).all(-1, keepdims=True)
        output = points.copy()
        output[..., :2] = np.where(missing, points[..., :2], points[..., :2] * scale + shift)
        return output

    def moved_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 4), x0, y0, x1, y1 as fractions of the frame, as fractions of the fitted one."""
        return np.concatenate([self.moved(boxes[..., :2]), self.moved(boxes[..., 2:])], -1)

    def words(self) -> str:
        """What happens, in words."""
        (height, width), (tall, wide) = self.size, self.scaled
        if self.mode == "crop":
            kept = (height * width) / (tall * wide)
            return f"cropped to {width} x {height} from the middle ({1 - kept:.0%} of each picture is cut off)"
        return f"put between bars of black to make {width} x {height}"
