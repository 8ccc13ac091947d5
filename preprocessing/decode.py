"""Any video file as frames at a constant rate and sound in step with them, read as a stream.

Time 0 of a source is where its container starts, as a player shows it. Frame 0 of the output is the first picture,
and sample 0 of the sound is heard at the same moment.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from datamodules.media import SAMPLE_RATE, MediaError

FREEZE_SECONDS: Final = 2.0  # a picture that stands longer than this is missing footage, not a held frame
DRIFT_SECONDS: Final = Fraction(1, 50)  # sound is placed anew where its stamps jump by more than rounding explains
BAD_PACKETS: Final = 0.05  # share of unreadable packets from which on a file counts as broken


class Clock:
    """Seconds and frames by step; a step that runs inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
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


class Sound:
    """A source's sound at 16 kHz mono, on disk; sample 0 belongs to the moment of frame 0."""

    def __init__(self) -> None:
        # Hours of sound would not fit in memory; short ones never touch the disk.
        self._file = tempfile.SpooledTemporaryFile(max_size=64 << 20)
        self._first: int | None = None
        self._end = 0

    @property
    def end(self) -> int:
        """Sample after the last one, counted from frame 0."""
        return self._end

    def place(self, position: int, samples: np.ndarray) -> None:
        """Put samples where they belong; what was never written reads as silence."""
        if self._first is None:
            self._first = position
        if position < self._first:
            samples, position = samples[self._first - position :], self._first
        self._file.seek((position - self._first) * 4)
        self._file.write(np.ascontiguousarray(samples, np.float32).tobytes())
        self._end = max(self._end, position + len(samples))

    def read(self, start: int, count: int) -> np.ndarray:
        """`count` samples from `start` on, silence where there is no sound, (count,) float32 in [-1, 1]."""
        result = np.zeros(count, np.float32)
        first = self._first or 0
        low, high = max(start, first), min(start + count, self._end)
        if high > low:
            self._file.seek((low - first) * 4)
            result[low - start : high - start] = np.frombuffer(self._file.read((high - low) * 4), np.float32)
        return result.clip(-1, 1)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


class SourceVideo:
    """A video file opened for one pass. Use it in a `with` block.

    Args:
        path: the file.
        fps: output frames a second; any fraction with a denominator up to 1001 is met exactly.
        size: longest side of the output in pixels; never enlarged; sides are made even.
        clock: where the time goes.

    Attributes:
        width, height: of the output, in pixels.
        start: seconds of the source at which frame 0 stands.
        sound: the sound, None where the file has none.
        warnings: what was wrong with the file but could be mended.

    Raises:
        MediaError: no such file, not a video, no picture track, or broken; also while frames are read.
    """

    def __init__(self, path: str | Path, fps: float = 25.0, size: int = 512, clock: Clock | None = None) -> None:
        self.path, self.size = Path(path), size
        self.rate = Fraction(fps).limit_denominator(1001)
        self.clock = clock or Clock()
        self.warnings: list[str] = []
        self.sound: Sound | None = None
        self._container = _open(self.path)
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
                self.sound = _read_sound(self.path, self._zero, self.warnings)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> SourceVideo:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()
        if self.sound is not None:
            self.sound.close()

    def slots(self) -> Iterator[Slot]:
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
        for packet in _packets(self._container, stream, self.warnings):
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
            raise MediaError(f"{self.path} is damaged: {bad} of {packets} pieces of its picture track cannot be decoded")
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
                f"{self.path} is cut off: it states {float(stated):.1f} s and ends at {float(reached):.1f} s; copy it again"
            )

    def _output_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        width, height = frame.width * (aspect if aspect > 0 else 1), Fraction(frame.height)
        if frame.rotation % 180:
            width, height = height, width
        scale = min(Fraction(1), Fraction(self.size) / max(width, height))
        return max(2, int(width * scale / 2 + Fraction(1, 2)) * 2), max(2, int(height * scale / 2 + Fraction(1, 2)) * 2)

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        turns = round(frame.rotation / 90) % 4
        width, height = (self.height, self.width) if turns % 2 else (self.width, self.height)
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
        return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _open(path: Path) -> av.container.InputContainer:
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder, not a video")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)")
        return av.open(str(path))
    except FileNotFoundError:
        raise MediaError(f"no video at {path}") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read: permission denied") from None
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path} is not a video that can be read ({error.strerror or error})") from None


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


def _packets(container: av.container.InputContainer, stream: av.stream.Stream, warnings: list[str]) -> Iterator[av.Packet]:
    """Yield a stream's packets; a damaged end of the container ends it with a warning."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError) as error:
            warnings.append(f"the {stream.type} track breaks off ({error})")
            return


def _read_sound(path: Path, zero: Fraction, warnings: list[str]) -> Sound | None:
    """The sound of a file from the moment `zero` of its container's clock; None where there is none."""
    with _open(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        sound, bad = Sound(), 0
        resampler: av.AudioResampler | None = None
        kind: tuple[str, str, int] | None = None
        begin, taken, position = Fraction(0), 0, 0

        def push(frame: av.AudioFrame | None) -> None:
            nonlocal position
            for part in resampler.resample(frame) if resampler is not None else ():
                samples = part.to_ndarray()[0]
                sound.place(position, samples)
                position += len(samples)

        for packet in _packets(container, stream, warnings):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                stamp = begin + Fraction(taken, frame.sample_rate)
                if frame.pts is not None and frame.time_base is not None:
                    stamp = frame.pts * Fraction(frame.time_base)
                this = (frame.format.name, frame.layout.name, frame.sample_rate)
                late = stamp - begin - Fraction(taken, frame.sample_rate)
                if this != kind or abs(late) > DRIFT_SECONDS:
                    # A first piece, another kind of sound, or a hole: a new stretch, at its own place in time.
                    push(None)
                    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
                    kind, begin, taken = this, stamp, 0
                    position = round((stamp - zero) * SAMPLE_RATE)
                taken += frame.samples
                frame.pts = None
                push(frame)
        push(None)
        if bad:
            warnings.append(f"{bad} pieces of the sound cannot be decoded")
        if sound.end == 0 and kind is None:
            warnings.append("the sound track holds nothing that can be decoded")
            return None
        return sound
