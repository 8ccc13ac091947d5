"""A person who answers while sound is still coming: sound in, frames out, the parts working at the same time."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np

from trainers.streaming.ear import Ear
from trainers.streaming.pipeline import Pipeline, StreamError
from trainers.streaming.window import Live, Part, Window

__all__ = ["Counts", "Frame", "Stream", "StreamError"]

ROOM: Final = 8
"""Windows under way at most."""
LATE: Final = 0.4
"""Seconds that a frame of a live stream may be late by."""
_PIECE: Final = 1.0  # seconds of sound that are looked at in one go


class Frame(NamedTuple):
    """A frame of the stream; every one comes, in order.

    Attributes:
        number: from 0; it is seen from number / fps seconds on.
        picture: (H, W, 3) uint8 RGB.
        made: false where the frame came too late, and the picture is the one before it.
        sound: (m,) float32, the sound of its time; empty where none is kept.
        delay: seconds from the arrival of the last sound that it needs.
    """

    number: int
    picture: np.ndarray
    made: bool
    sound: np.ndarray
    delay: float


@dataclass(frozen=True)
class Counts:
    """What a stream has done so far.

    Attributes:
        frames: that have been made or held.
        late: of these, which show the picture before because they came too late.
        skipped: windows of which no frame was made for that reason.
        rate_changes: how often the sound changed its rate.
        bad_samples: samples that were no numbers, heard as silence.
        longest: the longest delay of a frame that was made.
        seconds: processor time by part.
    """

    frames: int
    late: int
    skipped: int
    rate_changes: int
    bad_samples: int
    longest: float
    seconds: dict[str, float]


class Stream:
    """Sound in any pieces to frames, as they are ready (CA-15).

    In whatever pieces the sound arrives, the frames are the same. Each part works in a thread of its own; at most
    `room` windows are under way, so neither delay nor memory grows: `push` waits where there are as many.

    A frame is due when the sound that it needs has arrived, or one frame after the one before it was due, whichever is
    later. With `late`, what is overdue by more than so many seconds when its turn comes, and has a newer window waiting
    behind it, is left out: a window none of whose frames can be in time is not moved (motion goes on from the one
    before), and single frames are not rendered. In their place the picture before is held, so frames keep step with the
    sound.

    Args:
        live: who speaks.
        late: as said; None makes every frame, however long it takes.
        room: windows under way at most.
        sound_rate: of the sound that goes with each frame, in Hz; None keeps none.
        begin: called first in each thread.
        out: takes each frame, in a thread of its own; `push` and `finish` then give none.
    """

    def __init__(
        self,
        live: Live,
        *,
        late: float | None = None,
        room: int = ROOM,
        sound_rate: int | None = None,
        begin: Callable[[], None] | None = None,
        out: Callable[[Frame], Any] | None = None,
    ):
        if room < 1:
            raise ValueError(f"room has to be at least 1 window, got {room}")
        self.live, self.fps = live, live.fps
        self._ear = Ear(live.fps, live.window, live.span, sound_rate)
        self._frames = _Frames(live, out)
        self._finished = False
        self._one = threading.Lock()
        self._pipeline = Pipeline([*live.parts, Part("out", self._frames)], room, late, begin)

    @classmethod
    def from_pretrained(cls, run: str, *, late: float | None = None, device: str = "auto", **options: Any) -> Self:
        """The stream of a run.

        Args:
            run: a run folder, a saved network (export/), or a hub name.
            late: seconds; see `Stream`.
            device: cpu, cuda, or auto.
            options: of the run's stage, such as image=PICTURE: those of `python -m trainers.stream run=RUN --help`.

        Raises:
            ConfigError: no such network, or values that make no sense.
            MediaError: a picture that cannot be used.
        """
        from trainers.streaming.loading import load_live, threads_of

        live = load_live(run, options, device)
        return cls(live, late=late, begin=threads_of(device))

    def push(self, audio: Any, sample_rate: int, arrived: float | None = None) -> list[Frame]:
        """Hear more sound; the frames that are ready, which may be of sound that came before.

        Args:
            audio: (N,) or (N, channels); whole numbers in their type's range, others in [-1, 1].
            sample_rate: in Hz; may change from piece to piece.
            arrived: when it did, in seconds of `time.monotonic`; now where left out.

        Raises:
            ValueError: no sound, a rate at which nobody records, or a stream that has ended.
            StreamError: a part failed; its own error is the cause.
        """
        audio = np.asarray(audio)
        with self._one:
            if self._finished:
                raise ValueError("the stream has ended: finish() was called; begin another one")
            arrived = time.monotonic() if arrived is None else arrived
            step = max(1, round(_PIECE * sample_rate)) if sample_rate and sample_rate > 0 else 1
            done: list[Window] = self._pipeline.take()
            for start in range(0, max(1, len(audio) if audio.ndim else 1), step):
                for window in self._ear.push(
                    audio[start : start + step] if audio.ndim else audio, sample_rate, arrived
                ):
                    done += self._pipeline.put(window)
            return _joined(done)

    def poll(self, seconds: float = 0.0) -> list[Frame]:
        """Frames that have become ready since; waits so long for one where there is none. Raises StreamError."""
        return [] if self._finished else _joined(self._pipeline.take(seconds))

    def finish(self) -> list[Frame]:
        """The frames that are left, after the last sound; silence stands behind it. Ends the stream.

        Raises:
            StreamError: a part failed.
        """
        with self._one:
            if self._finished:
                return []
            self._finished = True
            done: list[Window] = []
            try:
                for window in self._ear.finish(time.monotonic()):
                    done += self._pipeline.put(window)
                return _joined(done + self._pipeline.rest())
            finally:
                self._pipeline.close()

    def close(self) -> None:
        """End without what is under way; nothing happens where the stream has ended."""
        self._finished = True
        self._pipeline.close()

    @property
    def counts(self) -> Counts:
        """What it has done so far."""
        done, ear = self._frames, self._ear
        return Counts(
            done.frames,
            done.late,
            done.skipped,
            ear.rate_changes,
            ear.bad_samples,
            done.longest,
            dict(self._pipeline.seconds),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if pipeline := getattr(self, "_pipeline", None):
            pipeline.close()


class _Frames:
    """The last part: pictures to frames, the one before in the place of each that was not made."""

    def __init__(self, live: Live, out: Callable[[Frame], Any] | None):
        self.last, self.window, self.out = live.still, live.window, out
        self.frames = self.late = self.skipped = 0
        self.longest = 0.0

    def __call__(self, window: Window) -> list[Frame]:
        now, first = time.monotonic(), window.number * self.window
        pictures = dict(zip(window.wanted, window.value if window.wanted else (), strict=True))
        edges = [round(number / window.count * len(window.sound)) for number in range(window.count + 1)]
        frames = []
        for number in range(window.count):
            self.last = pictures.get(number, self.last)
            sound = window.sound[edges[number] : edges[number + 1]]
            frames.append(Frame(first + number, self.last, number in pictures, sound, now - window.heard))
        self.frames += window.count
        self.late += window.count - len(pictures)
        self.skipped += not pictures
        if pictures:
            self.longest = max(self.longest, now - window.heard)
        if self.out is None:
            return frames
        for frame in frames:
            self.out(frame)
        return []


def _joined(windows: list[Window]) -> list[Frame]:
    return [frame for window in windows for frame in window.value]
