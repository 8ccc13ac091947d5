"""Any video file as frames at a constant rate and sound in step with them, read as a stream.

Time 0 of a source is where its container starts, as a player shows it. Frame 0 of the output is the first picture,
and sample 0 of the sound is heard at the same moment.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np

from datamodules.media.container import BAD, MediaError, describe_choice, open_container, picture_track
from datamodules.media.files import SAMPLE_RATE
from preprocessing.videos.clock import Clock
from preprocessing.videos.deinterlace import Timed, deinterlace
from preprocessing.videos.layout import Layout
from preprocessing.videos.seek import MARGINS, frame_stamps, packets_from
from preprocessing.videos.sound import Sound, read_sound
from preprocessing.videos.span import Crop, Span

FREEZE_SECONDS: Final = 2.0  # a picture that stands longer than this is missing footage, not a held frame
ROUNDED: Final = Fraction(1, 1000)  # seconds by which lists round the time stamps of frames
SHORT_OF: Final = Fraction(1, 10)  # seconds that a span may lack at its end without a word
BAD_PACKETS: Final = 0.05  # share of unreadable packets from which on a file counts as broken


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


class PastEnd(MediaError):
    """A span that begins where the video has ended."""


class SourceVideo:
    """A video file, or a part of one, opened for one pass. Use it in a `with` block.

    Of a span only that is decoded, and what lies between it and the key frame before it.

    Args:
        path: the file.
        fps: output frames a second; any fraction with a denominator up to 1001 is met exactly.
        size: a side of the output in pixels; never enlarged; sides are made even.
        clock: where the time goes.
        side: which side `size` means.
        span: the part in time; frames that are shown from its start on, before its end.
        crop: the part of the picture; `size` is then its own.

    Attributes:
        width, height: of the output, in pixels.
        crop: left, top, right, bottom of the output as fractions of the picture, as it came out on whole pixels; None
            without one.
        decoded: frames decoded so far.
        ends_early: where the video ended before its span did, in words; None where it did not.
        start: seconds of the source at which frame 0 stands.
        sound: the sound, None where the file has none.
        warnings: what was wrong with the file but could be mended.
        facts: what was done to picture or sound beyond reading them, as it is found out: `picture_track` and
            `sound_track` (numbers in the file, where there are several), `sound_channel` (taken of two of opposite
            phase), `deinterlaced`, `tone_mapped` (pq or hlg), `size_changes`.

    Raises:
        PastEnd: the span lies behind the end.
        MediaError: no such file, not a video, no picture track, broken, or a crop that reaches outside; also while
            frames are read.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float = 25.0,
        size: int = 512,
        clock: Clock | None = None,
        side: Literal["longest", "shortest"] = "longest",
        span: Span | None = None,
        crop: Crop | None = None,
    ) -> None:
        self.path = Path(path)
        self.rate = Fraction(fps).limit_denominator(1001)
        self.clock = clock or Clock()
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {}
        self.sound: Sound | None = None
        self.decoded = 0
        self.ends_early: str | None = None
        self._skipped: int | None = 0  # frames before the first one; None where they were jumped over
        self._end = Fraction(0)
        self._container = open_container(self.path)
        try:
            with self.clock.step("decode"):
                self._stream = self._track()
                begin = Fraction(self._container.start_time or 0, av.time_base)
                self._from = begin + Fraction(span.start) if span is not None and span.start > 0 else None
                self._until = begin + Fraction(span.end) if span is not None and span.end is not None else None
                self._pictures, self._head = self._open(begin)
                if self._head is None:
                    if self.decoded and span is not None:
                        raise PastEnd(f"{self.path.name} has no picture from {span.start:g} s on")
                    raise MediaError(f"{self.path} has a picture track with no picture that can be decoded")
                self._zero = self._head[0]
                self.start = float(max(self._zero - begin, Fraction(0)))
                self._layout = Layout(self._stream, self._head[1], size, side, crop, self.facts, self.warnings)
                self.width, self.height, self.crop = self._layout.width, self._layout.height, self._layout.crop
                self.sound = read_sound(
                    self.path, self._zero, self.warnings, self._from is not None, self._until, self.facts
                )
        except BaseException:
            self._container.close()
            raise

    @property
    def expected(self) -> int | None:
        """About how many frames will come out, as the container says; None where it does not say."""
        if self._container.duration is None:
            return None
        return max(1, round(self._container.duration / av.time_base * float(self.rate)))

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
        if self._until is not None:
            self._end = min(self._end, self._until)
        if waiting is not None:
            last = int((self._end - self._zero) * self.rate + Fraction(1, 2))
            yield from self._emit(waiting, max(last, waiting[0] + 1), gap)
        self._check_whole()

    def _emit(self, waiting: tuple[int, Fraction, int, av.VideoFrame], until: int, gap: bool) -> Iterator[Slot]:
        slot, _, number, frame = waiting
        with self.clock.step("decode"):
            rgb = self._layout.paint(frame)
        for index in range(slot, until):
            with self.clock.step("decode", frames=1):
                pass
            yield Slot(index, number, rgb, held=index > slot, gap=gap and index == slot)

    def _timed(self) -> Iterator[Timed]:
        pictures = self._pictures
        pending, self._head = self._head, None
        while pending is not None:
            yield pending
            with self.clock.step("decode"):
                pending = next(pictures, None)

    def first_frame(self) -> int:
        """Which frame of the file, in order of presentation, is the first one of the span."""
        if self._skipped is not None:
            return self._skipped
        stamps, _ = frame_stamps(self.path)
        return int(np.searchsorted(stamps, float(self._zero - ROUNDED)))

    def _open(self, begin: Fraction) -> tuple[Iterator[Timed], Timed | None]:
        """The pictures from the first one of the span on: that one, and an iterator of the others."""
        if self._from is None:
            pictures = deinterlace(self._decode(None))
            return pictures, next(pictures, None)
        for margin in MARGINS:
            if margin is not None and self._from - margin <= begin:
                continue
            pictures = deinterlace(self._decode(None if margin is None else self._from - margin))
            picture = next(pictures, None)
            if margin is not None and (picture is None or picture[0] > self._from):
                pictures.close()
                self._container.close()
                self._container = open_container(self.path)
                self._stream = self._track()
                continue
            skipped = 0
            while picture is not None and picture[0] < self._from - ROUNDED:
                skipped += 1
                picture = next(pictures, None)
            self._skipped = skipped if margin is None else None
            break
        return pictures, picture

    def _decode(self, moment: Fraction | None) -> Generator[Timed, None, None]:
        """Yield (time stamp, frame, time it stands) in order of presentation, leaving out what cannot be read.

        From the key frame before a moment on, or from the start; nothing where a file without stamps would have to be
        wound.
        """
        stream = self._stream
        usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        before: Fraction | None = None
        packets = bad = backwards = 0
        ended = True
        for packet in packets_from(self._container, stream, moment, self.warnings):
            packets += packet.size > 0
            try:
                frames = packet.decode()
            except BAD:
                bad += 1
                continue
            for frame in frames:
                if not isinstance(frame, av.VideoFrame):
                    continue
                self.decoded += 1
                if frame.interlaced_frame:
                    self.facts["deinterlaced"] = True
                if frame.pts is None and before is None and moment is not None:
                    return
                if frame.pts is None or frame.time_base is None:
                    stamp = Fraction(0) if before is None else before + usual
                else:
                    stamp = frame.pts * Fraction(frame.time_base)
                if before is not None and stamp <= before:
                    backwards += 1
                    continue
                length = frame.duration * Fraction(frame.time_base) if frame.duration and frame.time_base else usual
                before = stamp
                if self._until is not None and stamp >= self._until - ROUNDED:
                    ended = False
                    break
                # A stated length beyond a frozen picture is damage, too.
                yield stamp, frame, min(length, Fraction(FREEZE_SECONDS))
            if not ended:
                break
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
        if self._until is not None and self._end >= self._until - SHORT_OF:
            return
        begin = Fraction(self._container.start_time or 0, av.time_base)
        if self._until is not None:
            wanted, there = float(self._until - begin), float(self._end - begin)
            self.ends_early = f"the span ends at {wanted:g} s, the video at {there:.2f} s: cut to what is there"
        if not self._container.duration:
            return
        stated = Fraction(self._container.duration, av.time_base)
        reached = self._end - begin
        if self.sound is not None:
            reached = max(reached, self._zero - begin + Fraction(self.sound.end, SAMPLE_RATE))
        if reached < stated - max(Fraction(1, 2), stated / 50):
            raise MediaError(
                f"{self.path} is cut off: it ends at {float(reached):.1f} s of {float(stated):.1f} s; copy it again"
            )

    def _track(self) -> av.VideoStream:
        track = picture_track(self._container, self.path)
        choice = describe_choice(self._container, track)
        if choice and "picture_track" not in self.facts:
            self.warnings.append(choice)
            self.facts["picture_track"] = track.index
        # One process a video is the parallelism here; more threads in each would only stand in the way.
        track.codec_context.thread_count = 1
        return track
