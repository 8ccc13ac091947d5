"""Decoded sound of any kind to mono at one rate, also where its kind changes on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import av
import numpy as np

from datamodules.media.container import MediaError

RATES: Final = (
    1_000,
    1_000_000,
)  # what is recorded; a damaged header's 4 GHz would keep the resampler busy for a minute
OPPOSED: Final = 0.01  # mixed, two channels keep less than this share of the louder one's energy: -20 dB

_MEAN: Final = np.full(2, 0.5, np.float32)
_MANY: Final = np.full(2, 0.5**0.5, np.float32)  # of more channels, FFmpeg's own mono is that much louder


class Mono:
    """Mixes to mono and resamples. Left and right are averaged; more channels are brought to these as FFmpeg does.

    Args:
        rate: samples a second that come out.
        channel: of left and right take this one alone (0 or 1).
    """

    def __init__(self, rate: int, channel: int | None = None) -> None:
        self._rate, self._channel = rate, channel
        self._resampler: av.AudioResampler | None = None
        self._shares = _MEAN
        self._kind: tuple[str, str, int] | None = None
        self._energy = np.zeros((2, 2))  # products of left and right with each other

    def starts_anew(self, frame: av.AudioFrame) -> bool:
        """Whether this frame is of another kind (format, channels, rate) than those before."""
        return (frame.format.name, frame.layout.name, frame.sample_rate) != self._kind

    def push(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        """Yield what comes out for one more frame, (n,) float32; one of another kind drains what came before.

        Raises:
            MediaError: a rate at which nobody records.
        """
        if self.starts_anew(frame):
            if not RATES[0] <= frame.sample_rate <= RATES[1]:
                raise MediaError(f"the sound is damaged: it states {frame.sample_rate} samples a second")
            yield from self.drain()
            self._kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None:
            self._shares = _MEAN if frame.layout.nb_channels <= 2 else _MANY
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self._rate)
        frame.pts = None
        yield from self._mixed(self._resampler.resample(frame))

    def drain(self) -> Iterator[np.ndarray]:
        """Yield what the resampler still holds; the next frame begins a new stretch."""
        if self._resampler is not None:
            yield from self._mixed(self._resampler.resample(None))
        self._resampler = None

    @property
    def opposed(self) -> int | None:
        """The louder of left and right where they cancel each other out when mixed; None where they do not."""
        left, right = np.diag(self._energy)
        louder = max(left, right)
        return int(right > left) if louder > 0 and self._energy.sum() / 4 < OPPOSED * louder else None

    def _mixed(self, frames: list[av.AudioFrame]) -> Iterator[np.ndarray]:
        for frame in frames:
            samples = frame.to_ndarray()  # (channels, n)
            if len(samples) == 2:
                self._energy += samples @ samples.T
                yield self._shares @ samples if self._channel is None else samples[self._channel]
            else:
                yield samples[0]
