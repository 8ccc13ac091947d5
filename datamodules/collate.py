"""From windows of clips to a batch: each array is written once, straight into the batch's memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import get_worker_info

from datamodules.batch import Batch
from datamodules.clip import SAMPLE_RATE, SPEECH_RATE, BadSample
from datamodules.samples import Clip
from datamodules.video import read_window

_MOTION_RATE: Final = 20.0
_PADDING: Final = {"pose": (-1.0, -1.0, 0.0)}  # a missing point; everything else is padded with 0


@dataclass(frozen=True)
class Window:
    """A window's arrays, mostly views of its clip's: field of the batch (`face.boxes` inside a dict) to (T, ...)."""

    clip: Clip
    start: int
    frames: int
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """What of a clip goes into a batch.

    Attributes:
        video_size: height and width of pixels; the video's own where None.
        speech_layers: layers of the pretrained speech model, by their ids; all that are stored where None.
    """

    video_size: tuple[int, int] | None = None
    speech_layers: tuple[int, ...] | None = None


def cut_window(clip: Clip, start: int, length: int | None, wanted: Wanted) -> Window:
    """Frames `start` to `start + length` (the clip's end where None) of every array of a clip.

    Raises:
        BadSample: frames that cannot be decoded, or a speech layer that is not stored.
    """
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
                arrays["speech_layers"] = at(SPEECH_RATE, _layers(value, wanted, info.id).swapaxes(0, 1)).swapaxes(0, 1)
            elif wanted.speech_layers is not None:
                raise BadSample("speech.npz: no layers of a pretrained model", info.id)
        elif key == "audio.flac":
            arrays["audio"] = at(SAMPLE_RATE, value)
        elif key == "video.mp4":
            arrays["video"] = read_window(value, start, frames, wanted.video_size, info.id).transpose(0, 3, 1, 2)
        elif key == "motion.npz":
            arrays["motion"] = at(_MOTION_RATE, value["motion"])
        elif key == "latents.npz":
            arrays["latents"] = at(info.fps * len(value["latents"]) / info.frames, value["latents"])
        else:
            name = key.partition(".")[0]
            for part, array in value.items():
                along_time = array.ndim > 0 and len(array) == info.frames and part not in ("betas", "camera")
                arrays[f"{name}.{part}"] = array[start : start + frames] if along_time else array
    return Window(clip, start, frames, arrays)


def _layers(value: dict[str, np.ndarray], wanted: Wanted, clip_id: str) -> np.ndarray:
    if wanted.speech_layers is None:
        return value["layers"]
    stored = value.get("layer_ids", np.arange(len(value["layers"]))).tolist()
    missing = [layer for layer in wanted.speech_layers if layer not in stored]
    if missing:
        raise BadSample(f"speech.npz: layer {missing[0]} is not stored", clip_id)
    return value["layers"][[stored.index(layer) for layer in wanted.speech_layers]]


def collate(windows: Sequence[Window]) -> Batch:
    """B windows as one batch; shorter ones are padded at the end (`Batch.lengths` says how long each is).

    Raises:
        ValueError: the clips do not hold the same arrays, or not of one shape.
    """
    first = windows[0]
    fields: dict[str, Any] = {}
    for name in first.arrays:
        if any(name not in window.arrays for window in windows):
            lacking = next(window for window in windows if name not in window.arrays).clip.info.id
            raise ValueError(f"clip {first.clip.info.id} has {name}, clip {lacking} of the same batch has not")
        stacked = _stack(name, [window.arrays[name] for window in windows], windows)
        group, _, part = name.partition(".")
        if part:
            fields.setdefault(group, {})[part] = stacked
        else:
            fields[group] = stacked
    return Batch(
        ids=[f"{window.clip.info.id}@{window.start}" for window in windows],
        starts=torch.tensor([window.start for window in windows]),
        lengths=torch.tensor([window.frames for window in windows]),
        fps=first.clip.info.fps,
        infos=[window.clip.info for window in windows],
        **fields,
    )


def _stack(name: str, arrays: list[np.ndarray], windows: Sequence[Window]) -> torch.Tensor:
    shape = arrays[0].shape
    uneven = any(array.shape != shape for array in arrays)
    if uneven:
        time = 1 if name == "speech_layers" else 0
        rest = {array.shape[:time] + array.shape[time + 1 :] for array in arrays}
        if len(rest) > 1:
            named = sorted(
                {f"{window.clip.info.id} {array.shape}" for window, array in zip(windows, arrays, strict=True)}
            )[:3]
            advice = "; set data.video_size" if name == "video" else ""
            raise ValueError(f"clips of one batch differ in the shape of {name}: {', '.join(named)}{advice}")
        shape = (*shape[:time], max(array.shape[time] for array in arrays), *shape[time + 1 :])
    batch = _empty((len(arrays), *shape), arrays[0].dtype)
    target = batch.numpy()
    if uneven:
        target[:] = _PADDING.get(name, 0)
    for row, array in zip(target, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return batch


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
    """An empty tensor, in a worker in shared memory from the start, so that sending it copies nothing."""
    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    if get_worker_info() is None:
        return torch.empty(shape, dtype=kind)
    count = int(np.prod(shape))
    storage = torch.UntypedStorage._new_shared(count * dtype.itemsize, device="cpu")
    return torch.empty(0, dtype=kind).set_(storage, 0, shape)
