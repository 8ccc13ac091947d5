"""Interlaced pictures without their combs; all others pass untouched."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction

import av

Timed = tuple[Fraction, av.VideoFrame, Fraction]
"""(time stamp, frame, time it stands), in seconds."""


def deinterlace(frames: Iterable[Timed]) -> Generator[Timed, None, None]:
    """Yield the frames in order, those that the decoder flags as interlaced through FFmpeg's `bwdif`.

    One frame comes out for each that goes in, at its own time stamp. The filter starts at the first flagged frame; the
    progressive ones after it pass through it unchanged.
    """
    graph: _Graph | None = None
    for stamp, frame, length in frames:
        if graph is not None and not graph.fits(frame):
            yield from graph.end()
            graph = None
        if graph is None and frame.interlaced_frame and frame.width >= 16 and frame.height >= 16:
            graph = _Graph(frame)
        if graph is None:
            yield stamp, frame, length
        else:
            yield from graph.push(stamp, frame, length)
    if graph is not None:
        yield from graph.end()


class _Graph:
    """bwdif for frames of one size and format."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._kind = _kind(frame)
        self._waiting: dict[int, tuple[Fraction, Fraction]] = {}
        self._count = 0
        self._graph = av.filter.Graph()
        width, height, name = self._kind[:3]
        colours = f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
        source = self._graph.add(
            "buffer", f"video_size={width}x{height}:pix_fmt={name}:time_base=1/1000:pixel_aspect=1/1{colours}"
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def fits(self, frame: av.VideoFrame) -> bool:
        return _kind(frame) == self._kind

    def push(self, stamp: Fraction, frame: av.VideoFrame, length: Fraction) -> Iterator[Timed]:
        self._waiting[self._count] = stamp, length
        frame.pts, frame.time_base = self._count, Fraction(1, 1000)
        self._count += 1
        self._graph.push(frame)
        yield from self._pull()

    def end(self) -> Iterator[Timed]:
        self._graph.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[Timed]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if not isinstance(frame, av.VideoFrame) or frame.pts is None or frame.time_base is None:
                continue
            stamp, length = self._waiting.pop(round(frame.pts * frame.time_base * 1000))
            yield stamp, frame, length


def _kind(frame: av.VideoFrame) -> tuple[int, int, str, int, int]:
    return frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range)
