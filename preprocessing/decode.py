"""Any video file as frames at a constant rate and sound in step with them, read as a stream.

Time 0 of a source is where its container starts, as a player shows it. Frame 0 of the output is the first picture,
and sample 0 of the sound is heard at the same moment.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np

from datamodules.media import SAMPLE_RATE, MediaError
from preprocessing.container import open_container, read_packets
from preprocessing.sound import Sound, read_sound

FREEZE_SECONDS: Final = 2.0  # a picture that stands longer than this is missing footage, not a held frame
BAD_PACKETS: Final = 0.05  # share of unreadable packets from which on a file counts as broken


class Clock:
    """Seconds and frames by step; a step that runs inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin at nothing."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.frames: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def step(self, name: str, frames: int = 0) -> Iterator[None]:
        """Time a block under a name and count the frames it deals with."""
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()
            self.frames[name] += frames

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


@dataclass
class Slot:
    """One frame of the constant-rate stream.

    Attributes:
        index: its number; it stands for the time `index / fps` after the first picture.
        source_frame: which frame of the source it shows.
        rgb: (H, W, 3) uint8, upright, at the output size.
        held: shows the same source frame as the slot before.
        gap: footage is missing between the slot before and this one.
    """

    index: int
    source_frame: int
    rgb: np.ndarray
    held: bool = False
    gap: bool = False


class SourceVideo:
    """A video file opened for one pass. Use it in a `with` block.

    Args:
        path: the file.
        fps: output frames a second; any fraction with a denominator up to 1001 is met exactly.
        size: a side of the output in pixels; never enlarged; sides are made even.
        clock: where the time goes.
        side: which side `size` means.

    Attributes:
        width, height: of the output, in pixels.
        start: seconds of the source at which frame 0 stands.
        sound: the sound, None where the file has none.
        warnings: what was wrong with the file but could be mended.

    Raises:
        MediaError: no such file, not a video, no picture track, or broken; also while frames are read.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float = 25.0,
        size: int = 512,
        clock: Clock | None = None,
        side: Literal["longest", "shortest"] = "longest",
    ) -> None:
        self.path, self.size, self.side = Path(path), size, side
        self.rate = Fraction(fps).limit_denominator(1001)
        self.clock = clock or Clock()
        self.warnings: list[str] = []
        self.sound: Sound | None = None
        self._container = open_container(self.path)
        self._end = Fraction(0)
        try:
            with self.clock.step("decode"):
                self._stream = _picture_track(self._container, self.path)
                self._pictures = self._decode()
                self._head = next(self._pictures, None)
                if self._head is None:
                    raise MediaError(f"{self.path} has a picture track with no picture that can be decoded")
                self._zero = self._head[0]
                begin = Fraction(self._container.start_time or 0, av.time_base)
                self.start = float(max(self._zero - begin, Fraction(0)))
                self.width, self.height = self._output_size(self._head[1])
                self.sound = read_sound(self.path, self._zero, self.warnings)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> SourceVideo:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()
        if self.sound is not None:
            self.sound.close()

    def slots(self) -> Generator[Slot, None, None]:
        """Yield the video at the constant rate, one frame in memory at a time.

        Each source frame goes to the slot nearest to its time stamp, so nothing is ever off by more than half a frame;
        of two for one slot the nearer is kept, and a slot without one holds the picture before it.
        """
        waiting: tuple[int, Fraction, int, av.VideoFrame] | None = None
        gap = False
        for number, (stamp, frame, length) in enumerate(self._timed()):
            exact = (stamp - self._zero) * self.rate
            slot = int(exact + Fraction(1, 2))
            self._end = stamp + length
            if waiting is not None and slot > waiting[0]:
                missing = (slot - waiting[0]) / self.rate > FREEZE_SECONDS
                yield from self._emit(waiting, waiting[0] + 1 if missing else slot, gap)
                gap = missing
                waiting = None
            if waiting is None or abs(exact - slot) < waiting[1]:
                waiting = (slot, abs(exact - slot), number, frame)
        if waiting is not None:
            last = int((self._end - self._zero) * self.rate + Fraction(1, 2))
            yield from self._emit(waiting, max(last, waiting[0] + 1), gap)
        self._check_whole()

    def _emit(self, waiting: tuple[int, Fraction, int, av.VideoFrame], until: int, gap: bool) -> Iterator[Slot]:
        slot, _, number, frame = waiting
        with self.clock.step("decode"):
            rgb = self._upright(frame)
        for index in range(slot, until):
            with self.clock.step("decode", frames=1):
                pass
            yield Slot(index, number, rgb, held=index > slot, gap=gap and index == slot)

    def _timed(self) -> Iterator[tuple[Fraction, av.VideoFrame, Fraction]]:
        pictures = self._pictures
        pending, self._head = self._head, None
        while pending is not None:
            yield pending
            with self.clock.step("decode"):
                pending = next(pictures, None)

    def _decode(self) -> Iterator[tuple[Fraction, av.VideoFrame, Fraction]]:
        """Yield (time stamp, frame, time it stands) in order of presentation, leaving out what cannot be read."""
        stream = self._stream
        usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        before: Fraction | None = None
        packets = bad = backwards = 0
        for packet in read_packets(self._container, stream, self.warnings):
            packets += packet.size > 0
            try:
                frames = packet.decode()
            except av.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                if frame.pts is None or frame.time_base is None:
                    stamp = Fraction(0) if before is None else before + usual
                else:
                    stamp = frame.pts * Fraction(frame.time_base)
                if before is not None and stamp <= before:
                    backwards += 1
                    continue
                length = frame.duration * Fraction(frame.time_base) if frame.duration and frame.time_base else usual
                before = stamp
                # A stated length beyond a frozen picture is damage, too.
                yield stamp, frame, min(length, Fraction(FREEZE_SECONDS))
        if bad > max(1, BAD_PACKETS * packets):
            raise MediaError(
                f"{self.path} is damaged: {bad} of {packets} pieces of its picture track cannot be decoded"
            )
        if bad:
            self.warnings.append(f"{bad} of {packets} pieces of the picture track cannot be decoded")
        if backwards:
            self.warnings.append(f"{backwards} frames left out: their time stamps go backwards")

    def _check_whole(self) -> None:
        """Raise where both tracks stop well before the end that the file states."""
        if not self._container.duration:
            return
        begin = Fraction(self._container.start_time or 0, av.time_base)
        stated = Fraction(self._container.duration, av.time_base)
        reached = self._end - begin
        if self.sound is not None:
            reached = max(reached, self._zero - begin + Fraction(self.sound.end, SAMPLE_RATE))
        if reached < stated - max(Fraction(1, 2), stated / 50):
            raise MediaError(
                f"{self.path} is cut off: it ends at {float(reached):.1f} s of {float(stated):.1f} s; copy it again"
            )

    def _output_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        width, height = frame.width * (aspect if aspect > 0 else 1), Fraction(frame.height)
        if frame.rotation % 180:
            width, height = height, width
        side = max(width, height) if self.side == "longest" else min(width, height)
        scale = min(Fraction(1), Fraction(self.size) / side)
        return max(2, int(width * scale / 2 + Fraction(1, 2)) * 2), max(2, int(height * scale / 2 + Fraction(1, 2)) * 2)

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        turns = round(frame.rotation / 90) % 4
        width, height = (self.height, self.width) if turns % 2 else (self.width, self.height)
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
        return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _picture_track(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    # The cover of a piece of music is stored as a video track of one frame.
    tracks = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not tracks:
        raise MediaError(f"{path} has no picture track")
    stream = tracks[0]
    if stream.codec_context is None or not stream.width or not stream.height:
        raise MediaError(f"{path} has a picture track of unknown kind")
    # One process a video is the parallelism here; more threads in each would only stand in the way.
    stream.codec_context.thread_count = 1
    return stream
