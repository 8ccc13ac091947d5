"""Frames and sound to a video file, a few at a time."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from datamodules.media.files import SAMPLE_RATE, stream_audio, write_video
from settings.progress import Progress
from trainers.animation.files import Animation
from trainers.animation.request import SOUND_RATE, notice

if TYPE_CHECKING:
    from preprocessing.videos.sound import Sound


class Track(NamedTuple):
    """Sound that is read while the video is written: pieces (n,) float32 in [-1, 1], and their rate in Hz."""

    pieces: Iterable[np.ndarray]
    rate: int


def sound_of(path: Path) -> Track:
    """The sound of a file."""
    return Track(stream_audio(path, SOUND_RATE), SOUND_RATE)


def half_precision(device: torch.device, wanted: bool) -> AbstractContextManager:
    """Autocast to float16 on a GPU, to bfloat16 on a CPU; nothing unless it is wanted."""
    if not wanted:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if device.type == "cpu" else torch.float16)


def pieces_of(sound: "Sound") -> Iterator[np.ndarray]:
    """A driving video's sound, a second at a time."""
    for start in range(0, sound.end, SAMPLE_RATE):
        yield sound.read(start, min(SAMPLE_RATE, sound.end - start))


def write(
    out: Path,
    frames: Iterator[np.ndarray],
    fps: float,
    sound: Track | None,
    model: dict[str, str],
    inputs: dict[str, str],
    settings: dict[str, Any],
    total: int | None = None,
) -> Animation:
    """Write the video, frames and sound as they come.

    Args:
        out: the video.
        frames: (H, W, 3) uint8 in turn.
        fps: frames a second.
        sound: what goes with it; None for none.
        model: name, stage and hash of the network.
        inputs: SHA-256 of each input file.
        settings: what else it depends on.
        total: about how many frames there will be, if that is known; only for telling how long it takes.
    """
    metadata = {**notice(model, inputs, settings), "content": "video"}
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for frame in frames:
            count += 1
            yield frame

    pieces, rate = (None, SOUND_RATE) if sound is None else sound
    with Progress("making and writing frames", total, pause=10.0) as bar:
        output = bar.over(counted())
        video = write_video(out, output, fps, audio=pieces, sample_rate=rate, metadata=metadata)
    return Animation(video, count, fps, metadata)
