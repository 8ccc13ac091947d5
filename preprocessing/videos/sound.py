"""A video's sound at 16 kHz mono, in step with its pictures to the sample."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from datamodules.media.container import BAD, describe_choice, open_container, read_packets, sound_track
from datamodules.media.files import SAMPLE_RATE
from datamodules.media.mono import Mono
from preprocessing.videos.seek import jump

DRIFT_SECONDS: Final = Fraction(1, 50)  # sound is placed anew where its stamps jump by more than rounding explains


class Sound:
    """A source's sound at 16 kHz mono, on disk; sample 0 belongs to the moment of frame 0."""

    def __init__(self) -> None:
        # Hours of sound would not fit in memory; short ones never touch the disk.
        self._file = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115 (closed by `close`)
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


def read_sound(
    path: Path,
    zero: Fraction,
    warnings: list[str],
    late: bool = False,
    until: Fraction | None = None,
    facts: dict[str, Any] | None = None,
) -> Sound | None:
    """The sound of a file from the moment `zero` of its container's clock; None where there is none.

    Args:
        path: the file; its default track is taken.
        zero: what sample 0 belongs to.
        warnings: what was wrong but could be mended is appended here.
        late: whether `zero` is far from the start, so that what lies before it is jumped over.
        until: the moment after which nothing is wanted.
        facts: gets `sound_track` where there are several, `sound_channel` where one alone was taken.
    """
    facts = {} if facts is None else facts
    before = len(warnings)
    sound, opposed = _read_track(path, zero, warnings, late, until, facts, None)
    if sound is None or opposed is None:
        return sound
    # Mixed, they would be silence; a second reading costs such files alone.
    sound.close()
    del warnings[before:]
    facts["sound_channel"] = ("left", "right")[opposed]
    sound, _ = _read_track(path, zero, warnings, late, until, facts, opposed)
    warnings.append(f"left and right of the sound are of opposite phase: the {facts['sound_channel']} one was taken")
    return sound


def _read_track(
    path: Path,
    zero: Fraction,
    warnings: list[str],
    late: bool,
    until: Fraction | None,
    facts: dict[str, Any],
    channel: int | None,
) -> tuple[Sound | None, int | None]:
    """The sound, and which channel to take instead where two cancel each other out."""
    with open_container(path) as container:
        stream = sound_track(container)
        if stream is None:
            return None, None
        if choice := describe_choice(container, stream):
            warnings.append(choice)
            facts["sound_track"] = stream.index
        sound, mono, bad = Sound(), Mono(SAMPLE_RATE, channel), 0
        begin, taken, position, some = Fraction(0), 0, 0, False

        def place(parts: Iterator[np.ndarray]) -> None:
            nonlocal position
            for samples in parts:
                sound.place(position, samples)
                position += len(samples)

        if late:
            # Some codecs need what comes shortly before to sound right.
            jump(container, stream, zero - 1)
        for packet in read_packets(container, stream, warnings):
            if until is not None and packet.pts is not None and packet.pts * Fraction(packet.time_base) > until + 1:
                break
            try:
                frames = packet.decode()
            except BAD:
                bad += 1
                continue
            for frame in frames:
                if not isinstance(frame, av.AudioFrame) or frame.sample_rate <= 0:
                    continue
                stamp = begin + Fraction(taken, frame.sample_rate)
                if frame.pts is not None and frame.time_base is not None:
                    stamp = frame.pts * Fraction(frame.time_base)
                shift = stamp - begin - Fraction(taken, frame.sample_rate)
                if mono.starts_anew(frame) or abs(shift) > DRIFT_SECONDS:
                    # A first piece, another kind of sound, or a hole: a new stretch, at its own place in time.
                    place(mono.drain())
                    begin, taken, some = stamp, 0, True
                    position = round((stamp - zero) * SAMPLE_RATE)
                taken += frame.samples
                place(mono.push(frame))
        place(mono.drain())
        if bad:
            warnings.append(f"{bad} pieces of the sound cannot be decoded")
        if sound.end == 0 and not some:
            warnings.append("the sound track holds nothing that can be decoded")
            return None, None
        return sound, mono.opposed
