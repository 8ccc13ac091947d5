"""From the constant-rate stream to pieces of at most so many seconds, cut where the scene changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from datamodules.media.files import encode_video
from preprocessing.step import Drop
from preprocessing.videos.clock import Clock
from preprocessing.videos.decode import Slot

Edge = Literal["video", "scene", "length"]


class Scenes(Protocol):
    """Says frame by frame where a new shot begins."""

    def restart(self) -> None:
        """Forget the frames so far."""

    def __call__(self, rgb: np.ndarray) -> bool:
        """Whether a new shot begins with this frame."""


@dataclass
class Piece:
    """A stretch of the video without a cut, as an mp4.

    Attributes:
        number: counts all pieces of the video, the short ones too.
        start: first slot.
        video: the mp4; its frames stand at constant rate.
        source_frames: which source frame each frame shows.
        begins, ends: what made the borders: the video's own, a scene cut, or the longest length.
    """

    number: int
    start: int
    video: bytes
    source_frames: list[int] = field(default_factory=list)
    begins: Edge = "video"
    ends: Edge = "video"

    @property
    def frames(self) -> int:
        """Number of frames, T."""
        return len(self.source_frames)

    def source_indices(self) -> np.ndarray:
        """(T,) int64: which source frame each frame shows."""
        return np.asarray(self.source_frames, np.int64)

    def check_length(self, shortest: float, fps: float, when_cut: str) -> None:
        """Raise Drop for a piece that is too short, or that a cut borders on where such ones are not wanted."""
        seconds = self.frames / fps
        at_scene = "scene" in (self.begins, self.ends)
        if at_scene and when_cut == "drop":
            raise Drop("scene_cut", "the video has a scene cut and when_cut=drop")
        # Half a frame of grace: 2 s at 25 fps are 50 frames, however they were rounded.
        if seconds + 0.5 / fps < shortest:
            why = (
                " at a scene cut"
                if at_scene
                else " left after a clip of full length"
                if self.begins == "length"
                else ""
            )
            raise Drop("scene_cut" if at_scene else "too_short", f"{seconds:.2f} s{why}, shortest is {shortest:g} s")


def cut(slots: Iterator[Slot], scenes: Scenes | None, fps: float, longest: float, clock: Clock) -> Iterator[Piece]:
    """Cut a stream into pieces and encode each while it is read; one frame is held at a time.

    Args:
        slots: the constant-rate stream.
        scenes: finds cuts; None cuts by length only.
        fps: of the stream.
        longest: seconds that a piece has at most.
        clock: times the steps `scenes` and `cut`.
    """
    stream = _Marked(slots, scenes, clock)
    most = max(1, int(longest * fps + 1e-6))
    number = 0
    while stream.ahead is not None:
        begins: Edge = "video" if number == 0 else "scene" if stream.ahead_is_cut else "length"
        piece = Piece(number, stream.ahead.index, b"", begins=begins)
        with clock.step("cut"):
            piece.video = encode_video(_frames(stream, piece, most), fps)
        clock.frames["cut"] += piece.frames
        piece.ends = "video" if stream.ahead is None else "scene" if stream.ahead_is_cut else "length"
        yield piece
        number += 1


def _frames(stream: _Marked, piece: Piece, most: int) -> Iterator[np.ndarray]:
    while stream.ahead is not None and piece.frames < most and (piece.frames == 0 or not stream.ahead_is_cut):
        slot = stream.ahead
        piece.source_frames.append(slot.source_frame)
        yield slot.rgb
        stream.step()


class _Marked:
    """The stream with one slot of view ahead, and whether a new shot begins there."""

    def __init__(self, slots: Iterator[Slot], scenes: Scenes | None, clock: Clock) -> None:
        self._slots, self._scenes, self._clock = slots, scenes, clock
        if scenes is not None:
            scenes.restart()
        self.ahead: Slot | None = None
        self.ahead_is_cut = False
        self.step()

    def step(self) -> None:
        """Take the next slot."""
        self.ahead = next(self._slots, None)
        self.ahead_is_cut = self.ahead is not None and self.ahead.gap
        if self.ahead is not None and self._scenes is not None and not self.ahead.held:
            with self._clock.step("scenes", frames=1):
                self.ahead_is_cut = self._scenes(self.ahead.rgb) or self.ahead_is_cut
