"""Sound as it arrives, in any pieces and at any rate, to the windows that a stream is made of."""

from collections.abc import Callable, Iterator
from typing import Final

import av
import numpy as np

from datamodules.media.files import SAMPLE_RATE
from datamodules.media.mono import RATES, Mono
from trainers.streaming.window import Window

CHANNELS: Final = 32
"""More than these is sound whose axes are the wrong way round."""


class Ear:
    """Cuts sound into windows as soon as all that they hear is there; holds no more than the next one needs.

    Sound is resampled twice, to what networks hear and to what is played. A resampler looks one or two thousandths of a
    second ahead, which is what it keeps back until more arrives; sound of the networks' own rate waits for nothing.

    Args:
        fps: frames a second.
        window: frames of a window.
        span: see `Live`.
        sound_rate: of the sound that goes with the frames, in Hz; None where nobody wants it.
    """

    def __init__(
        self, fps: float, window: int, span: Callable[[int], tuple[int, int]], sound_rate: int | None = None
    ) -> None:
        self.fps, self.window, self.span, self.sound_rate = fps, window, span, sound_rate
        self.number = 0
        self.rate: int | None = None
        self.rate_changes = self.bad_samples = 0
        self._speech = _Track(SAMPLE_RATE)
        self._sound = None if sound_rate is None else _Track(sound_rate)
        self._due = -np.inf

    @property
    def seconds(self) -> float:
        """How much has been heard."""
        return self._speech.end / SAMPLE_RATE

    def push(self, samples: np.ndarray, rate: int, arrived: float) -> Iterator[Window]:
        """Yield the windows that are complete with more sound.

        Args:
            samples: (N,) or (N, channels); whole numbers in their type's range, others in [-1, 1]. Channels are
                averaged; what is no number is silence, and counted.
            rate: samples a second; may change from piece to piece.
            arrived: when it did, in seconds of `time.monotonic`.

        Raises:
            ValueError: another shape or type, or a rate at which nobody records.
        """
        if isinstance(rate, bool) or int(rate) != rate or not RATES[0] <= rate <= RATES[1]:
            raise ValueError(f"sound has {RATES[0]:,} to {RATES[1]:,} whole samples a second, got {rate}")
        mono, bad = _mono(samples)
        self.bad_samples += bad
        self.rate_changes += self.rate not in (None, rate)
        self.rate = int(rate)
        for track in (self._speech, self._sound):
            if track is not None and len(mono):
                track.push(mono, self.rate)
        while self._speech.end >= self.span(self.number)[1]:
            yield self._next(self.window, arrived)

    def finish(self, arrived: float) -> Iterator[Window]:
        """Yield the windows that are left; silence stands behind the end."""
        for track in (self._speech, self._sound):
            if track is not None:
                track.drain()
        total = round(self.seconds * self.fps)
        while (left := total - self.number * self.window) > 0:
            yield self._next(min(left, self.window), arrived)

    def _next(self, count: int, arrived: float) -> Window:
        low, high = self.span(self.number)
        start = max(0, low)
        speech = self._speech.read(start, high)
        sound = np.zeros(0, np.float32)
        if self._sound is not None:
            first = self.number * self.window
            begin, end = (round(at / self.fps * self._sound.rate) for at in (first, first + count))
            sound = self._sound.read(begin, end)
            sound = np.pad(sound, (0, end - begin - len(sound)))
            self._sound.forget(end)
        due = []
        for _ in range(count):
            # Sound may come in any pieces: a frame is due once its own is there, and not before the one before it.
            self._due = max(arrived, self._due + 1 / self.fps)
            due.append(self._due)
        number, self.number = self.number, self.number + 1
        self._speech.forget(max(0, self.span(self.number)[0]))
        return Window(number, speech, start, sound, arrived, due)


class _Track:
    """Sound at one rate of which the beginning is forgotten."""

    def __init__(self, rate: int):
        self.rate, self.end = rate, 0
        self._mono, self._start, self._held = Mono(rate), 0, np.zeros(0, np.float32)

    def push(self, samples: np.ndarray, rate: int) -> None:
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        self._keep(list(self._mono.push(frame)))

    def drain(self) -> None:
        self._keep(list(self._mono.drain()))

    def read(self, start: int, end: int) -> np.ndarray:
        return self._held[start - self._start : end - self._start].copy()

    def forget(self, until: int) -> None:
        until = min(until, self.end)
        if until > self._start:
            self._held, self._start = self._held[until - self._start :].copy(), until

    def _keep(self, parts: list[np.ndarray]) -> None:
        self._held = np.concatenate([self._held, *parts])
        self.end = self._start + len(self._held)


def _mono(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Sound of any kind as (N,) float32 in [-1, 1], and how many of its samples were no numbers."""
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= CHANNELS):
        raise ValueError(f"sound has to be (N,) or (N, channels) with at most {CHANNELS} channels, got {samples.shape}")
    if samples.dtype.kind == "i":
        samples = samples / float(-np.iinfo(samples.dtype).min)
    elif samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind != "f":
        raise ValueError(f"sound has to be of whole or floating-point numbers, got {samples.dtype}")
    finite = np.isfinite(samples)
    samples = np.where(finite, samples, 0.0)
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return np.ascontiguousarray(mono.clip(-1, 1), np.float32), int((~finite).sum())
