"""Sequences of any length from windows: where windows lie, what noise they share, how one goes on from another, and how
far what comes out jumps where they meet."""

from collections.abc import Sequence

import torch
from torch import Tensor


def windows(length: int, window: int, overlap: int | None = None) -> list[tuple[int, int]]:
    """First and last (not included) frame of the chained windows of a sequence; the last one is moved back to fit.

    Args:
        length: frames of the sequence.
        window: frames at once.
        overlap: frames that a window shares with the one before; None is a quarter of the window.

    Raises:
        ValueError: an overlap that is negative or not smaller than the window.
    """
    overlap = window // 4 if overlap is None else overlap
    if not 0 <= overlap < window:
        raise ValueError(f"overlap has to be from 0 to {window - 1} (the window has {window} frames), got {overlap}")
    spans = [(0, min(window, length))]
    while spans[-1][1] < length:
        end = min(spans[-1][1] + window - overlap, length)
        spans.append((max(0, end - window), end))
    return spans


def anchored_windows(length: int, window: int, overlap: int | None = None) -> list[tuple[int, int]]:
    """The same of windows all of which show frame 0 in front: the others have one frame less of their own.

    Args:
        length: frames of the sequence.
        window: frames at once, frame 0 among them.
        overlap: frames, beside frame 0, that a window shares with the one before; None is a quarter of the window, as
            far as that leaves one frame that is new.

    Raises:
        ValueError: an overlap that is negative or leaves nothing new, or a window that holds nothing but frame 0.
    """
    spans = [(0, min(window, length))]
    own = window - 1
    if length > window and own < 1:
        raise ValueError(f"windows of {window} frame hold nothing but the first one: give 2 or more")
    overlap = min(window // 4, max(0, own - 1)) if overlap is None else overlap
    if not 0 <= overlap < max(own, 1):
        raise ValueError(
            f"overlap has to be from 0 to {max(own, 1) - 1} (the window has {window} frames, one of them the first of "
            f"all), got {overlap}"
        )
    while spans[-1][1] < length:
        end = min(spans[-1][1] + own - overlap, length)
        spans.append((end - own, end))
    return spans


def seams(length: int, window: int, overlap: int | None = None) -> list[int]:
    """Frames at which a new window takes over: the first ones that it generated."""
    return [end for _, end in windows(length, window, overlap)[:-1]]


def smooth(ramp: Tensor) -> Tensor:
    """A ramp from 0 to 1 without a kink at either end."""
    return ramp * ramp * (3 - 2 * ramp)


def streams(seed: int, batch: int) -> list[torch.Generator]:
    """A stream of random numbers for each sequence of a batch, so that none depends on the others."""
    return [torch.Generator().manual_seed(seed + 1_000_003 * number) for number in range(batch)]


class NoiseTape:
    """Starting noise by absolute frame, so that windows agree where they overlap; keeps one window's worth.

    Args:
        seed: the same seed gives the same noise.
        batch: sequences.
        channels: of a frame.
    """

    def __init__(self, seed: int, batch: int, channels: int):
        self._streams, self._channels = streams(seed, batch), channels
        self._tape = torch.zeros(batch, 0, channels)
        self._start = 0

    def read(self, begin: int, end: int) -> Tensor:
        """(B, end - begin, C); begin never goes back."""
        missing = end - self._start - self._tape.shape[1]
        if missing > 0:
            fresh = [torch.randn(missing, self._channels, generator=stream) for stream in self._streams]
            self._tape = torch.cat([self._tape, torch.stack(fresh)], 1)
        self._tape = self._tape[:, begin - self._start :].clone()
        self._start = begin
        return self._tape[:, : end - begin]


def jumps(steps: Tensor, seam_frames: Sequence[int], reach: int = 0) -> dict[str, float]:
    """How far sequences jump at seams beside how far they move elsewhere (IM-17).

    Args:
        steps: (B, T - 1) distance between each frame and the one before; all have the same seams, measured together.
        seam_frames: frame numbers, as from `seams`.
        reach: further frames behind each seam that count as seam as well.

    Returns:
        "seams", "median_at_seams", "median_inside", "ratio" of the two, "largest_at_seams", "percentile_99_9_inside".

    Raises:
        ValueError: no seam, or nothing but seams.
    """
    at_seam = torch.zeros(steps.shape[1], dtype=torch.bool, device=steps.device)
    for frame in seam_frames:
        at_seam[frame - 1 : frame + reach] = True  # the step from frame - 1 to frame
    if not at_seam.any() or at_seam.all():
        raise ValueError(
            f"{steps.shape[1] + 1} frames, {len(seam_frames)} seams: both seams and other frames are needed"
        )
    inside, at = steps[:, ~at_seam].flatten(), steps[:, at_seam].flatten()
    median_at, median_inside = at.quantile(0.5).item(), inside.quantile(0.5).item()
    return {
        "seams": len(seam_frames) * len(steps),
        "median_at_seams": median_at,
        "median_inside": median_inside,
        "ratio": median_at / median_inside if median_inside > 0 else float("inf"),
        "largest_at_seams": at.max().item(),
        "percentile_99_9_inside": inside.quantile(0.999).item(),
    }
