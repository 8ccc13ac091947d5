"""A stretch of a video in time, and a box in its picture: what a row of a manifest may name instead of a whole file."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from datamodules.media.files import MediaError

SMALLEST: Final = 16  # pixels; a box below this shows nobody
_SLACK: Final = 1e-6  # by which a fraction may pass 1, as rounding makes it


@dataclass(frozen=True)
class Span:
    """Seconds of the source, counted from where its container starts; the end does not belong to it.

    Attributes:
        start: 0 or more.
        end: after the start; None is the end of the video.
    """

    start: float = 0.0
    end: float | None = None

    def __str__(self) -> str:
        return f"{self.start:g}," if self.end is None else f"{self.start:g},{self.end:g}"


@dataclass(frozen=True)
class Crop:
    """A box in the picture as players show it (upright, square pixels).

    Fractions of the picture where no number is above 1, else pixels.

    Attributes:
        left, top, right, bottom: its edges; the last two do not belong to it.
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def is_fraction(self) -> bool:
        """Whether its numbers are fractions."""
        return max(self.left, self.top, self.right, self.bottom) <= 1

    def pixels(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels of a picture.

        Raises:
            MediaError: it reaches outside, or is too small.
        """
        across, down = (width, height) if self.is_fraction else (1, 1)
        box = (self.left * across, self.top * down, self.right * across, self.bottom * down)
        # Half a pixel of grace: pictures whose pixels are not square have a width that is no whole number.
        if box[2] > width + 0.5 or box[3] > height + 0.5:
            raise MediaError(f"crop {self} reaches outside the picture of {float(width):g} x {float(height):g} pixels")
        if box[2] - box[0] < SMALLEST or box[3] - box[1] < SMALLEST:
            raise MediaError(
                f"crop {self} has {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} pixels, at least {SMALLEST} are needed"
            )
        return box

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in (self.left, self.top, self.right, self.bottom))


def seconds(value: Any) -> float:
    """A time as seconds: a number, or a text such as "83.5", "83,5", "1:23.5" or "0:01:23.5".

    Raises:
        ValueError: it is none, says why.
    """
    wanted = "is no time; give seconds such as 83.5, or 1:23.5"
    if isinstance(value, str):
        parts = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d*)?)", value.strip())
        if not parts:
            raise ValueError(f"{value!r} {wanted}")
        hours, minutes, rest = parts.groups(default="0")
        over = [float(rest.replace(",", ".")) >= 60, int(minutes) >= 60]
        if (parts[2] is not None and over[0]) or (parts[1] is not None and over[1]):
            raise ValueError(f"{value!r} {wanted}")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} {wanted}")
    if value < 0:
        raise ValueError(f"{value!r} lies before the start of the video")
    return float(value)


def read_crop(value: Any) -> Crop:
    """A box of four numbers: left, top, right, bottom; a list, or a text with commas or spaces between them.

    Raises:
        ValueError: it is none, says why.
    """
    wanted = f"{value!r} is no box; give left, top, right, bottom in pixels or as fractions"
    if isinstance(value, str):
        try:
            listed = value.strip().startswith("[")
            value = json.loads(value) if listed else [float(part) for part in re.split(r"[,;\s]+", value.strip())]
        except ValueError:
            raise ValueError(wanted) from None
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise ValueError(wanted)
    if any(isinstance(edge, bool) or not isinstance(edge, (int, float)) or not math.isfinite(edge) for edge in value):
        raise ValueError(wanted)
    left, top, right, bottom = (1.0 if 1 < edge <= 1 + _SLACK else float(edge) for edge in value)
    if left < 0 or top < 0:
        raise ValueError(f"{value!r} reaches outside the picture")
    if right <= left or bottom <= top:
        raise ValueError(f"{value!r} is empty: right has to be above left, and bottom above top (not width and height)")
    crop = Crop(left, top, right, bottom)
    if not crop.is_fraction and min(right - left, bottom - top) < SMALLEST:
        raise ValueError(
            f"{value!r} has {right - left:g} x {bottom - top:g} pixels, at least {SMALLEST} are needed; "
            "fractions lie between 0 and 1, all four of them"
        )
    return crop
