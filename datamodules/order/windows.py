"""How windows are cut from clips: by stride, at random, or the whole clip. A window is a clip and a first frame."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Cut:
    """Where windows begin.

    Attributes:
        mode: "stride": every `stride` frames, as far as whole windows fit. "random": `per_clip` windows, one at random
            in each of as many equal parts of the clip. "clip": the clip as a whole.
        length: frames of a window; without meaning for "clip".
        stride: frames from one window to the next.
        per_clip: random windows of a clip and epoch.
    """

    mode: Literal["stride", "random", "clip"]
    length: int
    stride: int = 1
    per_clip: int = 1

    def counts(self, frames: np.ndarray) -> np.ndarray:
        """Windows of clips of (N,) frames; 0 where a clip is shorter than a window."""
        if self.mode == "clip":
            return np.ones_like(frames)
        room = frames - self.length + 1
        if self.mode == "stride":
            return np.where(room > 0, (room - 1) // self.stride + 1, 0)
        return np.clip(room, 0, self.per_clip)

    def starts(self, frames: np.ndarray, numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """First frames of the windows with the given numbers (from 0) in clips of as many frames, both (N,)."""
        if self.mode == "clip":
            return np.zeros_like(numbers)
        if self.mode == "stride":
            return numbers * self.stride
        room = frames - self.length + 1
        parts = np.minimum(room, self.per_clip)
        low, high = numbers * room // parts, (numbers + 1) * room // parts
        return rng.integers(low, high)
