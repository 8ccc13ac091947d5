"""Reading and writing sound and video; every file appears whole or not at all."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import soundfile
from av.video.reformatter import ColorRange, Colorspace

from datamodules.media.container import BAD, MediaError, open_container, picture_track, sound_track, words
from datamodules.media.mono import Mono

SAMPLE_RATE: Final = 16_000
LISTEN_SECONDS: Final = 60  # of a track's beginning are heard to find channels of opposite phase
GOP: Final = 12  # key frames at most this far apart, so that any window of a clip is found fast

# mbtree reads memory that x264 never wrote: with it (and B frames) the same frames give other bytes once in a while.
_X264: Final = f"keyint={GOP}:open-gop=0:scenecut=0:bframes=0:mbtree=0:threads=1:lookahead-threads=1"


def read_audio(source: str | Path | bytes, rate: int = SAMPLE_RATE) -> np.ndarray:
    """The sound of an audio or video file as (N,) float32 in [-1, 1], mixed to mono and resampled.

    Raises:
        MediaError: no file, no sound in it, or nothing that can be decoded.
    """
    return np.concatenate(list(stream_audio(source, rate)))


def stream_audio(source: str | Path | bytes, rate: int = SAMPLE_RATE) -> Iterator[np.ndarray]:
    """As `read_audio`, in pieces (n,) as they are decoded; only one is held at a time.

    The default track is taken. Where left and right, to which more channels are mixed first, are of opposite phase, so
    that their mean would be silence, the louder of them is taken.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    some = False
    mono = Mono(rate, opposed_channel(source, rate))
    try:
        with open_container(source, "sound file") as container:
            for frame in sound_frames(container, name):
                for part in mono.push(frame):
                    some = some or len(part) > 0
                    yield part.clip(-1, 1)
            for part in mono.drain():
                some = some or len(part) > 0
                yield part.clip(-1, 1)
    except MediaError:
        raise
    except BAD as error:
        raise MediaError(f"{name} is not sound that can be read ({words(error)})") from None
    if not some:
        raise MediaError(f"{name} has a sound track with nothing in it")


def sound_frames(container: av.container.InputContainer, name: str) -> Iterator[av.AudioFrame]:
    """The decoded sound of an open file. Raises MediaError where it has none."""
    track = sound_track(container)
    if track is None:
        raise MediaError(f"{name} has no sound")
    for frame in container.decode(track):
        if isinstance(frame, av.AudioFrame) and frame.sample_rate > 0:
            yield frame


def opposed_channel(source: str | Path | bytes, rate: int) -> int | None:
    """Which of left and right to take where they are of opposite phase, judged by the beginning; else None."""
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    mono, heard = Mono(rate), 0
    with open_container(source, "sound file") as container:
        track = sound_track(container)
        if track is None or track.channels < 2:
            return None
        try:
            for frame in sound_frames(container, name):
                heard += sum(len(part) for part in mono.push(frame))
                if heard > LISTEN_SECONDS * rate:
                    break
        except BAD:
            pass  # said where the sound itself is read
    return mono.opposed


def encode_flac(audio: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """(N,) float32 in [-1, 1] as 16-bit FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(audio, np.float32).clip(-1, 1), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
    """(N,) float32 of FLAC bytes; two channels or more come back as (N, C)."""
    audio, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    return audio


def read_frames(source: str | Path | bytes) -> Iterator[np.ndarray]:
    """Every frame of a video that `encode_video` made, (H, W, 3) uint8 RGB; only one is held at a time.

    Videos of other origin are for `preprocessing.videos.decode.SourceVideo`, which turns them upright.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    try:
        with open_container(source) as container:
            for frame in container.decode(picture_track(container, name)):
                yield frame.to_ndarray(format="rgb24")
    except MediaError:
        raise
    except BAD as error:
        raise MediaError(f"{name} is not a video that can be read ({words(error)})") from None


def encode_video(
    frames: Iterable[np.ndarray],
    fps: float,
    crf: int = 18,
    preset: str = "veryfast",
    metadata: dict[str, Any] | None = None,
) -> bytes:
    """Frames as the bytes of an mp4 with constant frame rate and closed GOPs of at most 12 frames.

    The same frames give the same bytes. Height and width must be even; `metadata` as in `write_video`.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        _describe(container, metadata)
        _encode(container, frames, fps, crf, preset)
    return buffer.getvalue()


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    audio: np.ndarray | Iterable[np.ndarray] | None = None,
    sample_rate: int = SAMPLE_RATE,
    metadata: dict[str, Any] | None = None,
    crf: int = 18,
    preset: str = "veryfast",
) -> Path:
    """Write an mp4 (H.264, and AAC where there is sound) under its final name only when it is whole.

    Args:
        path: ends in .mp4.
        frames: (H, W, 3) uint8 RGB with even height and width; read one at a time.
        fps: frames a second.
        audio: (N,) float32 in [-1, 1], or pieces of it, read one at a time.
        sample_rate: of audio, in Hz.
        metadata: stored as JSON in the file's comment tag.
        crf: H.264 quality, lower is better.
        preset: x264's speed preset.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container:
            _describe(container, metadata)
            sound = None
            if audio is not None:
                sound = container.add_stream("aac", rate=sample_rate, layout="mono", bit_rate=96_000)
            _encode(container, frames, fps, crf, preset, sound, audio)
        os.replace(temporary, path)
    except av.FFmpegError as error:
        raise MediaError(f"{path} could not be written ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The JSON that `write_video` put into a file; empty where there is none."""
    with open_container(path) as container:
        comment = container.metadata.get("comment", "")
    try:
        value = json.loads(comment)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _describe(container: Any, metadata: dict[str, Any] | None) -> None:
    if metadata:
        container.metadata["comment"] = json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def _encode(container, frames, fps, crf, preset, sound=None, audio=None) -> None:
    """Mux frames, and sound in step with them, into an open container."""
    rate = Fraction(fps).limit_denominator(1001)
    stream, count = None, 0
    track = _Sound(container, sound, [audio] if isinstance(audio, np.ndarray) else audio) if sound is not None else None
    for image in frames:
        if stream is None:
            height, width = image.shape[:2]
            if height % 2 or width % 2:
                raise MediaError(f"a video needs an even height and width, got {height} x {width}")
            options = {"crf": str(crf), "preset": preset, "x264-params": _X264}
            stream = container.add_stream(
                "libx264", rate=rate, width=width, height=height, pix_fmt="yuv420p", options=options
            )
            stream.codec_context.time_base = 1 / rate
            # Said, because players take BT.709 for large pictures that do not say it.
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = count, 1 / rate
        container.mux(stream.encode(frame))
        count += 1
        if track is not None:
            track.write(until=count / rate)
    if stream is None:
        raise MediaError("a video needs at least one frame")
    container.mux(stream.encode(None))
    if track is not None:
        track.write(until=None)


class _Sound:
    """The sound track of a container, written as far as the picture is, so that neither has to be held."""

    BLOCK = 1024

    def __init__(self, container, stream, pieces: Iterable[np.ndarray]):
        self.container, self.stream, self._pieces = container, stream, iter(pieces)
        self._ahead, self._written = np.zeros(0, np.float32), 0

    def write(self, until: Fraction | None) -> None:
        """Encode up to a time in seconds; all that is left, and the end, where None."""
        while until is None or self._written < until * self.stream.rate:
            while len(self._ahead) < self.BLOCK and (piece := next(self._pieces, None)) is not None:
                self._ahead = np.concatenate([self._ahead, np.asarray(piece, np.float32)])
            block, self._ahead = self._ahead[: self.BLOCK], self._ahead[self.BLOCK :]
            if not len(block):
                break
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = self.stream.rate, self._written, Fraction(1, self.stream.rate)
            self.container.mux(self.stream.encode(frame))
            self._written += len(block)
        if until is None:
            self.container.mux(self.stream.encode(None))
