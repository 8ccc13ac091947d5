"""From windows of clips to a batch: each array is written once, straight into the batch's memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch

from datamodules.batch import Batch
from datamodules.clip import ARRAYS, SAMPLE_RATE, SPEECH_RATE, Caption, ClipInfo
from datamodules.shards.samples import Clip

_MOTION_RATE: Final = 20.0
_WHOLE: Final[Mapping[str, Any]] = {
    "audio.flac": lambda value: {"whole.audio": value},
    "speech.npz": lambda value: {"whole.speech": value["handcrafted"]},
}
_PADDING: Final = {"pose": (-1.0, -1.0, 0.0)}  # a missing point; everything else is padded with 0


@dataclass(frozen=True)
class Window:
    """A part of a clip.

    Attributes:
        info: the clip.
        start, frames: where it begins, and its length.
        arrays: mostly views of the clip's: field of the batch (`face.boxes` inside a dict) to (T, ...).
    """

    info: ClipInfo
    start: int
    frames: int
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


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
        elif key != "video.mp4":  # its frames are decoded window by window
            name = key.partition(".")[0]
            for part, array in value.items():
                along_time = ARRAYS[key][part].shape[0] == "T"
                arrays[f"{name}.{part}"] = array[start : start + frames] if along_time else array
    for key in clip.whole:
        arrays |= _WHOLE[key](clip.values[key])
    if clip.whole:
        arrays["whole.frames"] = np.array([info.frames])
    return Window(info, start, frames, arrays)


@dataclass(frozen=True)
class Stack:
    """How one array of each window, (T, ...), becomes one of the batch, (B, T, ...).

    Attributes:
        name: field of the batch.
        arrays: those of the windows.
        shape, dtype: of the batch's.
    """

    name: str
    arrays: Sequence[np.ndarray]
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, name: str, arrays: Sequence[np.ndarray], windows: Sequence[Window]) -> "Stack":
        """Where T differs they are padded at its end; it comes first, but in `speech_layers` (L, S, C).

        Raises:
            ValueError: they differ in another size; names the clips.
        """
        shape = arrays[0].shape
        if any(array.shape != shape for array in arrays):
            time = 1 if name == "speech_layers" else 0
            if len({array.shape[:time] + array.shape[time + 1 :] for array in arrays}) > 1:
                ids = [window.info.id for window in windows]
                named = sorted({f"{clip} {array.shape}" for clip, array in zip(ids, arrays, strict=True)})[:3]
                advice = "; set data.video_size" if name == "video" else ""
                raise ValueError(f"clips of one batch differ in the shape of {name}: {', '.join(named)}{advice}")
            shape = (*shape[:time], max(array.shape[time] for array in arrays), *shape[time + 1 :])
        return cls(name, arrays, (len(arrays), *shape), arrays[0].dtype)

    def write(self, target: np.ndarray) -> None:
        """Write the batch's array."""
        if any(array.shape != self.shape[1:] for array in self.arrays):
            target[:] = _PADDING.get(self.name, 0)
        for row, array in zip(target, self.arrays, strict=True):
            row[tuple(map(slice, array.shape))] = array


def stacks(windows: Sequence[Window]) -> list[Stack]:
    """How the arrays of B windows become those of a batch.

    Raises:
        ValueError: the clips do not hold the same arrays, or not of one shape.
    """
    first, made = windows[0], []
    for name in first.arrays:
        lacking = next((window for window in windows if name not in window.arrays), None)
        if lacking is not None:
            raise ValueError(f"clip {first.info.id} has {name}, clip {lacking.info.id} of the same batch has not")
        made.append(Stack.of(name, [window.arrays[name] for window in windows], windows))
    return made


def new_tensor(shape: Sequence[int], dtype: np.dtype, pinned: bool = False) -> torch.Tensor:
    """Memory for an array of a batch, page-locked if `pinned`."""
    return torch.empty(tuple(shape), dtype=torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=pinned)


def collate(windows: Sequence[Window]) -> Batch:
    """B windows as one batch; shorter ones are padded at the end (`Batch.lengths` says how long each is).

    Raises:
        ValueError: the clips do not hold the same arrays, or not of one shape.
    """
    arrays = {}
    for one in stacks(windows):
        arrays[one.name] = new_tensor(one.shape, one.dtype)
        one.write(arrays[one.name].numpy())
    return make_batch(windows, arrays)


def make_batch(windows: Sequence[Window], arrays: Mapping[str, torch.Tensor]) -> Batch:
    """A batch of arrays that are stacked already.

    Args:
        windows: what they show; their own arrays are not looked at.
        arrays: field of the batch to (B, T, ...); `video` is (B, T, H, W, 3).
    """
    fields: dict[str, Any] = {}
    for name, array in arrays.items():
        group, _, part = name.partition(".")
        if part:
            fields.setdefault(group, {})[part] = array
        else:
            fields[group] = array
    if "video" in fields:
        # Colours stay last in memory, as decoded: turning every frame round costs half as much as decoding it.
        fields["video"] = fields["video"].permute(0, 1, 4, 2, 3)
    return Batch(
        ids=[f"{window.info.id}@{window.start}" for window in windows],
        starts=torch.tensor([window.start for window in windows]),
        lengths=torch.tensor([window.frames for window in windows]),
        fps=windows[0].info.fps,
        captions=[_captions(window) for window in windows],
        infos=[window.info for window in windows],
        **fields,
    )


def _captions(window: Window) -> list[Caption]:
    """The captions that have a part in a window, in seconds from its first frame."""
    info = window.info
    first, seconds = window.start / info.fps, window.frames / info.fps
    return [
        Caption.model_construct(start=caption.start - first, end=caption.end - first, text=caption.text)
        for caption in info.captions
        if caption.start - first < seconds and caption.end > first
    ]
