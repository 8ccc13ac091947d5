"""What becomes of a video that is made window by window: jumps where windows meet, and how far it drifts a minute."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from metrics.frames import as_frames
from models.diffusion.chaining import jumps
from trainers.evaluation.comparison import Figure

FIGURES: Final = {
    "seam": Figure(
        "Seam",
        "near",
        "median step between frames where windows meet over that inside windows (IM-17); 1 is no seam",
    ),
    "drift_colour": Figure(
        "Colour drift", "near", "how far the mean colour moves a minute, 8-bit levels, by a line through all frames"
    ),
    "drift_sharpness": Figure(
        "Sharpness drift", "near", "how much sharper (above 0) or softer frames get, per cent a minute, by such a line"
    ),
}
_LEAST: Final = 1e-12


class Trace:
    """A few numbers of each frame of a video, taken as it is made, so that five minutes need no memory (rule of long
    video: seam and drift are measured, with or without a true video).
    """

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.colours: list[np.ndarray] = []
        self.sharpness: list[float] = []
        self._last: Tensor | None = None

    def add(self, frames: Tensor) -> "Trace":
        """The next frames (n, 3, H, W), uint8 or float in [0, 1]."""
        frames = as_frames(frames).cpu()
        before = frames[:1] if self._last is None else self._last
        follow = torch.cat([before, frames])
        steps = (follow[1:] - follow[:-1]).double().square().mean((1, 2, 3)).sqrt()
        self.steps += steps[1 if self._last is None else 0 :].tolist()
        self.colours += list((255 * frames.double().mean((2, 3))).numpy())
        grey = frames.double().mean(1)
        across = (grey[:, :, 1:] - grey[:, :, :-1]).square().mean((1, 2))
        down = (grey[:, 1:] - grey[:, :-1]).square().mean((1, 2))
        self.sharpness += (across + down).sqrt().tolist()
        self._last = frames[-1:]
        return self

    def seam(self, seam_frames: Sequence[int]) -> float:
        """The ratio of IM-17 on the pixels of frames (`models.diffusion.chaining.jumps`); NaN without seams.

        Args:
            seam_frames: frames at which a new window takes over.
        """
        if not seam_frames or len(self.steps) <= len(seam_frames):
            return float("nan")
        ratio = jumps(torch.tensor([self.steps], dtype=torch.float64), seam_frames)["ratio"]
        return ratio if np.isfinite(ratio) else float("nan")

    def drift(self, fps: float) -> dict[str, float]:
        """`drift_colour` and `drift_sharpness` of the whole video so far; NaN for fewer than two frames.

        Args:
            fps: frames a second.
        """
        if len(self.colours) < 2:
            return {"drift_colour": float("nan"), "drift_sharpness": float("nan")}
        minutes = np.arange(len(self.colours)) / fps / 60
        sharpness = np.log(np.maximum(self.sharpness, _LEAST))
        return {
            "drift_colour": float(np.linalg.norm(np.polyfit(minutes, np.stack(self.colours), 1)[0])),
            "drift_sharpness": float(100 * np.polyfit(minutes, sharpness, 1)[0]),
        }
