"""From windows of clips to a batch: each array is written once, straight into the batch's memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from datamodules.batch import Batch
from datamodules.clip import ARRAYS, SAMPLE_RATE, SPEECH_RATE, Caption
from datamodules.samples import Clip

_MOTION_RATE: Final = 20.0
_PADDING: Final = {"pose": (-1.0, -1.0, 0.0)}  # a missing point; everything else is padded with 0


@dataclass(frozen=True)
class Window:
    """A window's arrays, mostly views of its clip's: field of the batch (`face.boxes` inside a dict) to (T, ...)."""

    clip: Clip
    start: int
    frames: int
    arrays: dict[str, np.ndarray]


def cut_window(clip: Clip, start: int, length: int | None) -> Window:
    """Frames `start` to `start + length` (the clip's end where None) of every array of a clip."""
    info, frames = clip.info, length or clip.info.frames
    arrays: dict[str, np.ndarray] = {}

    def at(rate: float, values: np.ndarray) -> np.ndarray:
        count = round(frames / info.fps * rate)
        first = max(0, min(round(start / info.fps * rate), len(values) - count))  # two roundings may step over the end
        return values[first : first + count]

    for key, value in clip.values.items():
        if key == "pose.npz":
            arrays["pose"] = value["pose"][start : start + frames]
        elif key == "speech.npz":
            arrays["speech"] = value["handcrafted"][start : start + frames]
            if "layers" in value:
                arrays["speech_layers"] = at(SPEECH_RATE, value["layers"].swapaxes(0, 1)).swapaxes(0, 1)
        elif key == "audio.flac":
            arrays["audio"] = at(SAMPLE_RATE, value)
        elif key == "motion.npz":
            arrays["motion"] = at(_MOTION_RATE, value["motion"])
        elif key == "latents.npz":
            arrays["latents"] = at(info.fps * len(value["latents"]) / info.frames, value["latents"])
        else:
            name = key.partition(".")[0]
            for part, array in value.items():
                along_time = ARRAYS[key][part].shape[0] == "T"
                arrays[f"{name}.{part}"] = array[start : start + frames] if along_time else array
    return Window(clip, start, frames, arrays)


def collate(windows: Sequence[Window], frames: Sequence[np.ndarray] | np.ndarray = (), pinned: bool = False) -> Batch:
    """B windows as one batch; shorter ones are padded at the end (`Batch.lengths` says how long each is).

    Args:
        windows: all of the same keys.
        frames: (T, H, W, 3) of each window, where frames are wanted; one array (B, T, H, W, 3) is taken as it is.
        pinned: write into page-locked memory.

    Raises:
        ValueError: the clips do not hold the same arrays, or not of one shape.
    """
    first = windows[0]
    named = [window.clip.info.id for window in windows]
    fields: dict[str, Any] = {}
    for name in first.arrays:
        if any(name not in window.arrays for window in windows):
            lacking = next(window for window in windows if name not in window.arrays).clip.info.id
            raise ValueError(f"clip {first.clip.info.id} has {name}, clip {lacking} of the same batch has not")
        stacked = stack(name, [window.arrays[name] for window in windows], named, pinned)
        group, _, part = name.partition(".")
        if part:
            fields.setdefault(group, {})[part] = stacked
        else:
            fields[group] = stacked
    if len(frames):
        video = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else stack("video", frames, named, pinned)
        # Colours stay last in memory, as decoded: turning every frame round costs half as much as decoding it.
        fields["video"] = video.permute(0, 1, 4, 2, 3)
    return Batch(
        ids=[f"{window.clip.info.id}@{window.start}" for window in windows],
        starts=torch.tensor([window.start for window in windows]),
        lengths=torch.tensor([window.frames for window in windows]),
        fps=first.clip.info.fps,
        captions=[_captions(window) for window in windows],
        infos=[window.clip.info for window in windows],
        **fields,
    )


def _captions(window: Window) -> list[Caption]:
    """The captions that have a part in a window, in seconds from its first frame."""
    info = window.clip.info
    first, seconds = window.start / info.fps, window.frames / info.fps
    return [
        Caption.model_construct(start=caption.start - first, end=caption.end - first, text=caption.text)
        for caption in info.captions
        if caption.start - first < seconds and caption.end > first
    ]


def stack(name: str, arrays: Sequence[np.ndarray], clips: Sequence[str], pinned: bool = False) -> torch.Tensor:
    """Arrays (T, ...) as (B, T, ...), padded at the end of T where they differ; `speech_layers` are (L, S, C).

    Raises:
        ValueError: they differ in another size; names the clips.
    """
    shape = arrays[0].shape
    uneven = any(array.shape != shape for array in arrays)
    if uneven:
        time = 1 if name == "speech_layers" else 0
        if len({array.shape[:time] + array.shape[time + 1 :] for array in arrays}) > 1:
            named = sorted({f"{clip} {array.shape}" for clip, array in zip(clips, arrays, strict=True)})[:3]
            advice = "; set data.video_size" if name == "video" else ""
            raise ValueError(f"clips of one batch differ in the shape of {name}: {', '.join(named)}{advice}")
        shape = (*shape[:time], max(array.shape[time] for array in arrays), *shape[time + 1 :])
    kind = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
    batch = torch.empty((len(arrays), *shape), dtype=kind, pin_memory=pinned)
    target = batch.numpy()
    if uneven:
        target[:] = _PADDING.get(name, 0)
    for row, array in zip(target, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return batch
