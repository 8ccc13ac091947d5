"""A video's sound at 16 kHz mono, in step with its pictures to the sample."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from datamodules.media import SAMPLE_RATE
from preprocessing.container import open_container, read_packets
from preprocessing.seek import jump

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
    path: Path, zero: Fraction, warnings: list[str], late: bool = False, until: Fraction | None = None
) -> Sound | None:
    """The sound of a file from the moment `zero` of its container's clock; None where there is none.

    Args:
        path: the file.
        zero: what sample 0 belongs to.
        warnings: what was wrong but could be mended is appended here.
        late: whether `zero` is far from the start, so that what lies before it is jumped over.
        until: the moment after which nothing is wanted.
    """
    with open_container(path) as container:
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

        if late:
            # Some codecs need what comes shortly before to sound right.
            jump(container, stream, zero - 1)
        for packet in read_packets(container, stream, warnings):
            if until is not None and packet.pts is not None and packet.pts * Fraction(packet.time_base) > until + 1:
                break
            try:
                frames = packet.decode()
            except av.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                if not isinstance(frame, av.AudioFrame):
                    continue
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
