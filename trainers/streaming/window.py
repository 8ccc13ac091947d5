"""A window of a live video on its way: what it hears, what each part makes of it, which of its frames are wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np


@dataclass
class Window:
    """One window of a stream.

    Attributes:
        number: of the window, from 0.
        speech: (n,) float32 at 16 kHz: what it hears, as far as there is any.
        start: which sample of all the stream's sound `speech` begins with.
        sound: (m,) float32, the sound of its frames, for who plays or writes it.
        heard: when the last sound that it hears arrived, in seconds of `time.monotonic`.
        due: when each of its frames is due, likewise.
        wanted: numbers within the window of the frames that are to be made; fewer where some are late.
        value: what the part before made of it.
    """

    number: int
    speech: np.ndarray
    start: int
    sound: np.ndarray
    heard: float
    due: list[float]
    wanted: list[int] = field(default_factory=list)
    value: Any = None

    def __post_init__(self) -> None:
        self.wanted = self.wanted or list(range(self.count))

    @property
    def count(self) -> int:
        """Frames that are shown of it: all of a window's, but for the last of a stream."""
        return len(self.due)


class Part(NamedTuple):
    """One step from sound to pictures, which works in a thread of its own while the others do theirs.

    Parts get every window, in order. One that goes on from the window before has to keep step where nothing of a window
    is wanted. The last one's value are pictures (len(wanted), H, W, 3) uint8 of the frames that are wanted.

    Attributes:
        name: what it is called.
        act: what it makes of a window, which becomes the window's value.
        drops: what of a window is not made where it comes too late: all of it, the late frames, or nothing.
    """

    name: str
    act: Callable[[Window], Any]
    drops: Literal["window", "frames"] | None = None


@dataclass(frozen=True)
class Live:
    """A person who is ready to speak.

    Attributes:
        fps: frames a second.
        window: frames that are made at once.
        span: of a window's number, the first sample at 16 kHz that it hears and the one behind the last; what lies
            before the stream's beginning is silence.
        parts: from sound to pictures, in order.
        still: (H, W, 3) uint8, the picture itself, shown while nothing else is there.
        model: name, stage and hash of the network, for a video's metadata.
        inputs: SHA-256 of the input files, likewise.
        settings: what else the frames depend on, likewise.
    """

    fps: float
    window: int
    span: Callable[[int], tuple[int, int]]
    parts: Sequence[Part]
    still: np.ndarray
    model: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
