"""Where the sound of a stream comes from: a file, a pipe, or a microphone."""

import os
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import numpy as np

from datamodules.media.container import BAD, MediaError, open_container, sound_track, words
from datamodules.media.files import SAMPLE_RATE, opposed_channel, sound_frames
from datamodules.media.mono import Mono
from settings import ConfigError, get_logger

HELD: Final = 2.0
"""Seconds of sound that wait for the stream at most."""
_LOOK: Final = 0.1  # seconds between looks at whether to stop
_FORMATS: Final = {(1, 8): "u1", (1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
logger = get_logger(__name__)


class Piece(NamedTuple):
    """Sound (N,) or (N, channels), its rate in Hz, and when it arrived, in seconds of `time.monotonic`."""

    samples: np.ndarray
    rate: int
    arrived: float


class Source(Protocol):
    """Sound in pieces.

    Attributes:
        lost: seconds that nobody could take in time, and that are gone.
        stalls: how often nothing came.
        silence: seconds of silence that were heard in the place of what did not come.
    """

    lost: float
    stalls: int
    silence: float

    def pieces(self) -> Iterator[Piece]:
        """The sound, until it ends or `stop` is called; some of it twice is never given."""
        ...

    def stop(self) -> None:
        """End soon; may be called by a signal or another thread."""
        ...


class FileSource:
    """A sound or video file, at its own rate.

    Args:
        path: the file.
        piece: seconds of a piece.
        live: as if it were spoken: no sooner than it is heard.

    Raises:
        MediaError: no sound that can be read; while it is read, where the file is damaged further on.
    """

    def __init__(self, path: Path, piece: float, live: bool):
        self.path, self.piece, self.live = path, piece, live
        self.lost, self.stalls, self.silence = 0.0, 0, 0.0
        self._stopped = threading.Event()
        with open_container(path, "sound file") as container:
            if sound_track(container) is None:
                raise MediaError(f"{path} has no sound")
        self._channel = opposed_channel(path, SAMPLE_RATE)

    def pieces(self) -> Iterator[Piece]:
        """See `Source`."""
        begun, heard = time.monotonic(), 0.0
        for part, rate in self._cut():
            heard += len(part) / rate
            if self._stopped.wait(max(0.0, begun + heard - time.monotonic()) if self.live else 0.0):
                return
            yield Piece(part, rate, time.monotonic())

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def _cut(self) -> Iterator[tuple[np.ndarray, int]]:
        """Decoded sound (n,) with its rate, in pieces; shorter ones where the rate changes, and at the end."""
        held, rate, mono = np.zeros(0, np.float32), 0, Mono(SAMPLE_RATE)
        try:
            with open_container(self.path, "sound file") as container:
                for frame in sound_frames(container, str(self.path)):
                    if frame.sample_rate != rate:
                        held = np.concatenate([held, *mono.drain()])
                        if len(held):
                            yield held, rate
                        held, rate, mono = held[:0], frame.sample_rate, Mono(frame.sample_rate, self._channel)
                    held = np.concatenate([held, *mono.push(frame)])
                    step = max(1, round(self.piece * rate))
                    while len(held) >= step:
                        yield held[:step], rate
                        held = held[step:]
        except MediaError:
            raise
        except BAD as error:
            if len(held):
                yield held, rate
            raise MediaError(f"{self.path} breaks off: the sound cannot be read further ({words(error)})") from None
        held = np.concatenate([held, *mono.drain()])
        if len(held):
            yield held, rate


class Arriving:
    """Sound that arrives by itself, in another thread; what does not come in time is silence.

    Args:
        piece: seconds of a piece of silence.
        silence_after: seconds without sound after which silence is heard in its place, in time.
        waits: whether who brings sound waits where `HELD` seconds are waiting; else the oldest are lost, and counted.
    """

    def __init__(self, piece: float, silence_after: float, waits: bool):
        self.piece, self.silence_after, self.waits = piece, silence_after, waits
        self.lost, self.stalls, self.silence = 0.0, 0, 0.0
        self.rate = SAMPLE_RATE
        self._change = threading.Condition()
        self._waiting: deque[Piece] = deque()
        self._seconds = 0.0
        self._ended, self._stopped = False, False
        self._error: BaseException | None = None

    def bring(self, samples: np.ndarray, rate: int) -> bool:
        """Sound has arrived; false where nobody wants any more. Called by whoever brings it."""
        piece = Piece(samples, rate, time.monotonic())
        with self._change:
            while self.waits and self._seconds > HELD and not self._stopped:
                self._change.wait(_LOOK)
            self._waiting.append(piece)
            self._seconds += len(samples) / rate
            while self._seconds > HELD and len(self._waiting) > 1 and not self.waits:
                old = self._waiting.popleft()
                self._seconds -= len(old.samples) / old.rate
                self.lost += len(old.samples) / old.rate
            self._change.notify_all()
            return not self._stopped

    def end(self, error: BaseException | None = None) -> None:
        """No more sound comes; the error is raised where there is one, behind what has arrived."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()

    def pieces(self) -> Iterator[Piece]:
        """See `Source`."""
        expected = time.monotonic() + self.silence_after
        stalled = False
        while not self._stopped:
            piece = self._next(expected)
            if piece is not None:
                stalled, self.rate = False, piece.rate
                expected = time.monotonic() + self.silence_after
                yield piece
            elif self._ended or self._stopped:
                break
            else:
                seconds = self.piece if stalled else self.silence_after  # at first all that was waited for
                self.stalls += not stalled
                stalled = True
                self.silence += seconds
                expected += self.piece
                yield Piece(np.zeros(round(seconds * self.rate), np.float32), self.rate, time.monotonic())
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """See `Source`."""
        self._stopped = True  # no lock: a signal may have broken into one that is held

    def _next(self, until: float) -> Piece | None:
        """The oldest piece; None where none comes until then, or the end has come."""
        with self._change:
            while not (self._waiting or self._ended or self._stopped):
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._change.wait(min(left, _LOOK))
            if not self._waiting:
                return None
            piece = self._waiting.popleft()
            self._seconds -= len(piece.samples) / piece.rate
            self._change.notify_all()
            return piece


class PipeSource(Arriving):
    """Sound of a pipe: a WAV of any rate, or else plain samples of 16 bits, little-endian.

    Args:
        pipe: read in a thread of its own.
        rate: of plain samples.
        channels: likewise, sample by sample in turns.
        piece, silence_after: see `Arriving`.
    """

    def __init__(self, pipe: BinaryIO, rate: int, channels: int, piece: float, silence_after: float):
        super().__init__(piece, silence_after, waits=True)
        self.rate, self._channels, self._kind = rate, channels, "<i2"
        self._pipe = pipe
        threading.Thread(target=self._read, name="stream: pipe", daemon=True).start()

    def _read(self) -> None:
        number, rate, held = self._pipe.fileno(), self.rate, b""
        try:
            while len(held) < 4 and (more := os.read(number, 4 - len(held))):
                held += more
            if held == b"RIFF":
                rate, held = self._header(number), b""
            width = np.dtype(self._kind).itemsize * self._channels
            while more := os.read(number, max(width, round(self.piece * rate) * width)):
                held += more
                whole = len(held) // width * width
                if whole and not self.bring(np.frombuffer(held[:whole], self._kind).reshape(-1, self._channels), rate):
                    return
                held = held[whole:]
            if held:
                logger.warning("the sound ended within a sample: %d bytes at its end are left out", len(held))
            self.end()
        except (OSError, ValueError) as error:
            self.end(error if isinstance(error, MediaError) else MediaError(f"the pipe cannot be read ({error})"))

    def _header(self, number: int) -> int:
        """Read a WAV's header up to its samples; their rate."""
        _exactly(number, 4)
        if _exactly(number, 4) != b"WAVE":
            raise MediaError("audio=-: this is RIFF, but no WAV")
        rate = 0
        while True:
            name, size = struct.unpack("<4sI", _exactly(number, 8))
            if name == b"data":
                if not rate:
                    raise MediaError("audio=-: this WAV does not say what its samples are")
                return rate
            body = _exactly(number, size + size % 2)
            if name == b"fmt ":
                kind, self._channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
                if kind == 0xFFFE and len(body) >= 26:
                    kind = struct.unpack("<H", body[24:26])[0]
                if (kind, bits) not in _FORMATS or not 1 <= self._channels <= 32 or not 1_000 <= rate <= 1_000_000:
                    raise MediaError(
                        f"audio=-: a WAV of kind {kind}, {bits} bits, {self._channels} channels and {rate} Hz is not "
                        "read; send PCM of 8, 16 or 32 bits, or 32-bit floats"
                    )
                self._kind = _FORMATS[kind, bits]


class MicrophoneSource(Arriving):
    """A microphone, by the library `sounddevice`.

    Args:
        device: its number or a part of its name; the system's own where None.
        rate: in Hz; where the device has another, that.
        piece, silence_after: see `Arriving`; pieces are asked for at this length.

    Raises:
        ConfigError: no library, no such microphone.
    """

    def __init__(self, device: str | None, rate: int, piece: float, silence_after: float):
        super().__init__(piece, silence_after, waits=False)
        try:
            import sounddevice
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"audio=microphone needs the library sounddevice and PortAudio ({error}): `pip install sounddevice`, "
                "and on Linux the package libportaudio2; or send the sound to audio=-"
            ) from None
        wanted: Any = int(device) if device is not None and device.isdigit() else device
        try:
            known = sounddevice.query_devices(wanted, "input")
            try:
                sounddevice.check_input_settings(device=wanted, channels=1, samplerate=rate)
            except sounddevice.PortAudioError:
                rate = round(known["default_samplerate"])
            self.rate = rate
            self._stream = sounddevice.InputStream(
                device=wanted,
                samplerate=rate,
                channels=1,
                dtype="float32",
                blocksize=round(piece * rate),
                callback=self._heard,
                finished_callback=self._gone,
            )
            self._stream.start()
        except (ValueError, sounddevice.PortAudioError) as error:
            name = "the system's own" if device is None else device
            raise ConfigError(f"audio=microphone: {name} cannot be used ({error})") from None

    def pieces(self) -> Iterator[Piece]:
        """See `Source`."""
        try:
            yield from super().pieces()
        finally:
            self._stopped = True
            self._stream.close()

    def _heard(self, samples: np.ndarray, frames: int, moment: Any, status: Any) -> None:
        self.bring(samples.copy(), self.rate)

    def _gone(self) -> None:
        self.end(None if self._stopped else MediaError("the microphone is gone"))


def _exactly(number: int, size: int) -> bytes:
    held = b""
    while len(held) < size:
        more = os.read(number, size - len(held))
        if not more:
            raise MediaError("audio=-: the sound ends within its header")
        held += more
    return held
