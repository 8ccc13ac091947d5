"""Where the frames of a stream go: a video that can be read while it grows, a pipe, or a window."""

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from datamodules.media.files import GOP, MediaError
from settings import ConfigError
from trainers.streaming.stream import Frame

BLOCK: Final = 1024  # samples of an AAC frame
_X264: Final = f"keyint={GOP}:open-gop=0:scenecut=0:bframes=0:mbtree=0:threads=1:lookahead-threads=1:sync-lookahead=0"


class OutputGone(Exception):
    """Who took the frames does not want any more: a pipe's reader has left, or the window was closed."""


class Output(Protocol):
    """Takes frames, in order, in one thread."""

    def write(self, frame: Frame) -> None:
        """Take one. Raises OutputGone."""
        ...

    def close(self) -> None:
        """End; the frames so far stay."""
        ...


class VideoOutput:
    """A fragmented mp4 (H.264, AAC) that is whole up to the last fragment at any time, however the process ends.

    Args:
        target: the file, which is begun with the first frame, or a pipe, which gets each frame at once.
        fps: frames a second.
        sound_rate: of the frames' sound.
        metadata: stored as JSON in the comment tag.
    """

    def __init__(self, target: Path | BinaryIO, fps: float, sound_rate: int, metadata: dict[str, Any]):
        self.target, self.sound_rate, self.metadata = target, sound_rate, metadata
        self.rate = Fraction(fps).limit_denominator(1001)
        self._container: Any = None
        self._count = self._samples = 0
        self._held = np.zeros(0, np.float32)

    def write(self, frame: Frame) -> None:
        """See `Output`. Raises MediaError for a picture of odd sides, OSError where it cannot be written."""
        with _faults(self.target):
            if self._container is None:
                self._open(frame.picture)
            picture = av.VideoFrame.from_ndarray(frame.picture, format="rgb24")
            picture.pts, picture.time_base = self._count, 1 / self.rate
            self._container.mux(self._video.encode(picture))
            self._count += 1
            self._held = np.concatenate([self._held, frame.sound])
            while len(self._held) >= BLOCK:
                self._sound_block(self._held[:BLOCK])
                self._held = self._held[BLOCK:]

    def close(self) -> None:
        """See `Output`."""
        if self._container is None:
            return
        container, self._container = self._container, None
        with _faults(self.target):
            try:
                self._encode_rest(container)
            finally:
                container.close()

    def _open(self, picture: np.ndarray) -> None:
        height, width = picture.shape[:2]
        if height % 2 or width % 2:
            raise MediaError(f"a video needs an even height and width, got {height} x {width}")
        piped = not isinstance(self.target, Path)
        # Fragments begin with key frames; a pipe's reader gets every frame by itself.
        flags = "empty_moov+default_base_moof+" + ("frag_every_frame" if piped else "frag_keyframe")
        options = {"movflags": flags, "flush_packets": "1"}
        if isinstance(self.target, Path):
            self.target.parent.mkdir(parents=True, exist_ok=True)
        target = os.fspath(self.target) if isinstance(self.target, Path) else self.target
        self._container = av.open(target, "w", format="mp4", options=options)
        self._container.metadata["comment"] = json.dumps(self.metadata, ensure_ascii=False, sort_keys=True)
        self._video = self._container.add_stream(
            "libx264",
            rate=self.rate,
            width=width,
            height=height,
            pix_fmt="yuv420p",
            options={"crf": "18", "preset": "veryfast", "tune": "zerolatency", "x264-params": _X264},
        )
        self._video.codec_context.time_base = 1 / self.rate
        self._video.codec_context.colorspace = Colorspace.ITU601
        self._video.codec_context.color_range = ColorRange.MPEG
        self._sound = self._container.add_stream("aac", rate=self.sound_rate, layout="mono", bit_rate=96_000)

    def _sound_block(self, samples: np.ndarray) -> None:
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        block.rate, block.pts = self.sound_rate, self._samples
        block.time_base = Fraction(1, self.sound_rate)
        self._container.mux(self._sound.encode(block))
        self._samples += len(samples)

    def _encode_rest(self, container: Any) -> None:
        self._container = container
        if len(self._held):
            self._sound_block(self._held)
        self._container = None
        container.mux(self._video.encode(None))
        container.mux(self._sound.encode(None))


class WindowOutput:
    """A window on the screen, by tkinter; pictures only, each shown for its time.

    Args:
        fps: frames a second.
        title: of the window.

    Raises:
        ConfigError: no tkinter, or no screen.
    """

    def __init__(self, fps: float, title: str):
        try:
            import tkinter

            tkinter.Tk().destroy()
        except ImportError:
            raise ConfigError(
                "output=window needs tkinter (on Debian: python3-tk); or give output=FILE.mp4 or output=-"
            ) from None
        except tkinter.TclError as error:
            raise ConfigError(f"output=window: no screen ({error}); give output=FILE.mp4 or output=-") from None
        self.fps, self.title = fps, title
        self._root: Any = None
        self._next = 0.0

    def write(self, frame: Frame) -> None:
        """See `Output`."""
        import tkinter

        from PIL import Image, ImageTk

        try:
            if self._root is None:  # here, as all of tkinter wants one thread
                self._root = tkinter.Tk()
                self._root.title(self.title)
                self._label = tkinter.Label(self._root, borderwidth=0)
                self._label.pack()
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = max(self._next, time.monotonic()) + 1 / self.fps
            self._picture = ImageTk.PhotoImage(Image.fromarray(frame.picture), master=self._root)
            self._label.configure(image=self._picture)
            self._root.update()
        except tkinter.TclError:
            raise OutputGone("the window was closed") from None

    def close(self) -> None:
        """See `Output`; the window goes with the process where another thread has made it."""


@contextmanager
def _faults(target: Path | BinaryIO) -> Iterator[None]:
    """A while in which what PyAV says of a target that cannot be written is an OSError, or OutputGone."""
    try:
        yield
    except (av.FFmpegError, BrokenPipeError) as error:
        if error.errno == errno.EPIPE:
            raise OutputGone("the reader of the pipe has left") from None
        code = error.errno or errno.EIO
        number = code if code in errno.errorcode else errno.EIO
        raise OSError(number, os.strerror(number), str(target) if isinstance(target, Path) else "-") from None


def output_of(target: str, fps: float, sound_rate: int, metadata: dict[str, Any]) -> Output:
    """Where frames go: FILE.mp4, `-` for standard output, `window`.

    Raises:
        ConfigError: none of them.
    """
    if target == "window":
        return WindowOutput(fps, "cospeech")
    if target == "-":
        return VideoOutput(sys.stdout.buffer, fps, sound_rate, metadata)
    if not target.lower().endswith(".mp4"):
        raise ConfigError(f"output={target}: has to be a file that ends in .mp4, - for standard output, or window")
    return VideoOutput(Path(target), fps, sound_rate, metadata)
