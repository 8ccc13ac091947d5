"""From windows of clips to a batch: each array is written once, straight into the batch's memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from datamodules.batch import Batch
from datamodules.clip import Caption, ClipInfo
from datamodules.keys import KEYS, array_of, as_arrays
from datamodules.shards.samples import LoadedClip


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


def cut_window(clip: LoadedClip, start: int, length: int | None) -> Window:
    """Frames `start` to `start + length` (the clip's end where None) of every array of a clip."""
    info, frames = clip.info, length or clip.info.frames
    arrays: dict[str, np.ndarray] = {}
    for name, value in clip.values.items():
        if isinstance(value, bytes):  # a video: its frames are decoded window by window
            continue
        key, values = KEYS[name], as_arrays(KEYS[name], value)
        for part, field_name, _, axis, rate in key.places:
            array = values.get(part)
            if array is None:  # an optional one
                continue
            if axis == 0 and rate is None:
                array = array[start : start + frames]
            elif axis is not None:
                array = cut_array(array, axis, rate or info.fps, info.fps, start, frames)
            arrays[field_name] = array
        if name in clip.whole:
            arrays |= {f"whole.{place.field}": values[place.name] for place in key.in_full if place.name in values}
    if clip.whole:
        arrays["whole.frames"] = np.array([info.frames])
    return Window(info, start, frames, arrays)


def cut_array(values: np.ndarray, axis: int, rate: float, fps: float, start: int, frames: int) -> np.ndarray:
    """What of an array of so many steps a second along an axis belongs to some frames."""
    count = round(frames / fps * rate)
    first = max(0, min(round(start / fps * rate), values.shape[axis] - count))  # two roundings may step over the end
    return values[(slice(None),) * axis + (slice(first, first + count),)]


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
        """Where T differs they are padded at its end.

        Raises:
            ValueError: they differ in another size; names the clips.
        """
        shape = arrays[0].shape
        if any(array.shape != shape for array in arrays):
            known = array_of(name)
            time = 0 if known is None else known.time or 0
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
            known = array_of(self.name)
            target[:] = 0 if known is None else known.padding
        for row, array in zip(target, self.arrays, strict=True):
            row[tuple(map(slice, array.shape))] = array


def stacks(windows: Sequence[Window]) -> list[Stack]:
    """How the arrays of B windows become those of a batch.

    Raises:
        ValueError: the clips do not hold the same arrays, or not of one shape.
    """
    first, output = windows[0], []
    for name in first.arrays:
        lacking = next((window for window in windows if name not in window.arrays), None)
        if lacking is not None:
            raise ValueError(f"clip {first.info.id} has {name}, clip {lacking.info.id} of the same batch has not")
        output.append(Stack.of(name, [window.arrays[name] for window in windows], windows))
    return output


def new_tensor(shape: Sequence[int], dtype: np.dtype, pinned: bool = False) -> torch.Tensor:
    """Memory for an array of a batch, page-locked if `pinned`."""
    return torch.empty(tuple(shape), dtype=torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=pinned)


def stacked(windows: Sequence[Window], pinned: bool = False) -> dict[str, torch.Tensor]:
    """The arrays of B windows as those of a batch, by its fields, in page-locked memory if `pinned`.

    Raises:
        ValueError: as `stacks`.
    """
    arrays = {}
    for one in stacks(windows):
        arrays[one.name] = new_tensor(one.shape, one.dtype, pinned)
        one.write(arrays[one.name].numpy())
    return arrays


def collate(windows: Sequence[Window]) -> Batch:
    """B windows as one batch; shorter ones are padded at the end (`Batch.lengths` says how long each is).

    Raises:
        ValueError: the clips do not hold the same arrays, or not of one shape.
    """
    return make_batch(windows, stacked(windows))


def make_batch(windows: Sequence[Window], arrays: Mapping[str, torch.Tensor]) -> Batch:
    """A batch of arrays that are stacked already.

    Args:
        windows: what they show; their own arrays are not looked at.
        arrays: field of the batch to (B, T, ...); `video` is (B, T, H, W, 3).
    """
    fields = fields_of(arrays)
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


def fields_of(arrays: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Fields of a `Batch` by their names: "pose" is one, "whole.audio" in a dict, "face.boxes" in `arrays["face"]`."""
    fields: dict[str, Any] = {}
    for name, array in arrays.items():
        group, _, part = name.partition(".")
        if not part:
            fields[name] = array
        elif group == "whole":
            fields.setdefault(group, {})[part] = array
        else:
            fields.setdefault("arrays", {}).setdefault(group, {})[part] = array
    return fields


def _captions(window: Window) -> list[Caption]:
    """The captions that have a part in a window, in seconds from its first frame."""
    info = window.info
    first, seconds = window.start / info.fps, window.frames / info.fps
    return [
        Caption.model_construct(start=caption.start - first, end=caption.end - first, text=caption.text)
        for caption in info.captions
        if caption.start - first < seconds and caption.end > first
    ]
