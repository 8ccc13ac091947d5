"""From motion features to a video file: frames are rendered, scaled and written a few at a time."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import stream_audio, write_video
from models.implicit_motion.base import ImplicitMotion, SourceFeatures
from settings.progress import Progress
from trainers.animation.files import Animation
from trainers.animation.options import Frames
from trainers.animation.request import SOUND_RATE, notice


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


@torch.no_grad()
def rendered(
    network: ImplicitMotion, source: SourceFeatures, motion: Iterable[Tensor], options: Frames, size: int
) -> Iterator[np.ndarray]:
    """Frames (size, size, 3) uint8 of pieces of motion features (n, 768), one after another."""
    import cv2

    device = source.motion.device
    for piece in motion:
        for part in piece.split(options.batch):
            with half_precision(device, options.half):
                output = network.render(source, part[None].to(device), options.beta)[0]
            pixels = (output.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            for frame in pixels:
                same = frame.shape[0] == size
                yield frame if same else cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC)


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
        frames: (S, S, 3) uint8 in turn.
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
