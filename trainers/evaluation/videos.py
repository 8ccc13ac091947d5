"""The clips that videos are measured on, and figures of their frames: of the whole, and inside true boxes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.media.fitting import Fit, FitMode
from datamodules.media.video import read_window
from datamodules.shards.index import Index
from models.human.keypoints import LEFT_HAND, LIPS, RIGHT_HAND
from trainers.evaluation.clips import ids_of, joined
from trainers.evaluation.comparison import Figure
from trainers.evaluation.per_clip import PerClip
from trainers.evaluation.pretrained import Pretrained

DILATION: Final = 0.1  # of a box's width and height, on each side
FIGURES: Final = {
    "psnr": Figure("PSNR", "higher", "peak signal-to-noise ratio of frames, dB"),
    "ssim": Figure("SSIM", "higher", "structural similarity of frames"),
    "psnr_mouth_hands": Figure("PSNR, mouth and hands", "higher", "dB inside the true boxes of mouth and hands"),
    "ssim_mouth_hands": Figure("SSIM, mouth and hands", "higher", "SSIM inside the true boxes of mouth and hands"),
    "psnr_mouth": Figure("PSNR, mouth", "higher", "dB inside the true box of the mouth"),
    "ssim_mouth": Figure("SSIM, mouth", "higher", "SSIM inside the true box of the mouth"),
    "psnr_hands": Figure("PSNR, hands", "higher", "dB inside the true boxes of the hands"),
    "ssim_hands": Figure("SSIM, hands", "higher", "SSIM inside the true boxes of the hands"),
}
PARTS: Final = {"mouth_hands": (LIPS, LEFT_HAND, RIGHT_HAND), "mouth": (LIPS,), "hands": (LEFT_HAND, RIGHT_HAND)}


@dataclass(frozen=True)
class Shot:
    """A clip that is measured.

    Attributes:
        info: its clip.json.
        frames: (T, 3, H, W) uint8.
        pose: (T, 134, 3), None where the clip has none; then there are no figures of mouth and hands.
        further: other keys that were asked for, whole, as they are stored.
    """

    info: ClipInfo
    frames: Tensor
    pose: Tensor | None
    further: Mapping[str, Any] = field(default_factory=dict)


def load_shots(
    shards: str, split: str, limit: int | None, seconds: float | None, size: tuple[int, int], how: FitMode = "crop"
) -> list[Shot]:
    """Clips of a split with their frames at a height and width, at most `limit` of them, evenly taken.

    Frames of another shape are fitted as in training (`data.video_fit`), and poses with them.
    """
    index = Index.load(shards)
    there = ids_of(index, split, ("video.mp4",), limit)
    with_pose = set(there) <= set(ids_of(index, split, ("video.mp4", "pose.npz")))
    return list(read_shots(shards, there, seconds, size, how, with_pose))


def read_shots(
    shards: str,
    ids: list[str],
    seconds: float | None,
    size: tuple[int, int] | None,
    how: FitMode = "crop",
    with_pose: bool = True,
    further: tuple[str, ...] = (),
) -> Iterator[Shot]:
    """The clips with these ids in the order of the index, one after another, likewise.

    Args:
        shards: folder or URL.
        ids: of the clips.
        seconds: only the first seconds of each; None is all.
        size: height and width of the frames; None leaves each clip its own.
        how: frames of another shape come to it.
        with_pose: read pose.npz too.
        further: more keys to read.
    """
    keys = ("video.mp4", "pose.npz") if with_pose else ("video.mp4",)
    for info, values in read_clips(shards, (*keys, *further), where={"id": ids}):
        count = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        fit = Fit.of(info.height, info.width, size or (info.height, info.width), how)
        frames = read_window(values["video.mp4"], 0, count, fit, info.id)
        pose = torch.from_numpy(fit.moved(joined(values["pose.npz"])[:count])) if "pose.npz" in values else None
        pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        yield Shot(info, pixels, pose, {key: values[key] for key in further})


class Meters:
    """All figures of one system.

    Args:
        networks: what figures beyond pixels stand on.
        figures: which of `FIGURES` are taken.
    """

    def __init__(self, networks: Pretrained, figures: Mapping[str, Figure] = FIGURES) -> None:
        import metrics

        self.figures = figures
        self.networks, self.pretrained = networks, networks.meters()
        self.whole = {"psnr": PerClip(metrics.PSNR()), "ssim": PerClip(metrics.SSIM())}
        self.parts = {
            name: {"psnr": PerClip(metrics.RegionPSNR(DILATION)), "ssim": PerClip(metrics.RegionSSIM(DILATION))}
            for name in PARTS
        }

    def update(self, generated: Tensor, shot: Shot, follows: bool = True) -> None:
        """Add a clip's frames (T, 3, H, W); `follows` says that heads are meant to be where the true ones are."""
        from metrics.regions import part_boxes

        self.networks.update(self.pretrained, generated, shot.frames, shot.pose if follows else None)
        for meter in self.whole.values():
            meter.update(generated, shot.frames)
        if shot.pose is not None:
            for name, parts in PARTS.items():
                boxes = part_boxes(shot.pose, parts)
                for meter in self.parts[name].values():
                    meter.update(generated, shot.frames, boxes)
        inside = [meter for both in self.parts.values() for meter in both.values()]
        for meter in (*self.pretrained.values(), *self.whole.values(), *inside):
            meter.end_clip()

    def compute(self) -> dict[str, float]:
        """Figure by name, those that no clip shows left out."""
        found = {name: meter.compute() for name, meter in self.whole.items()}
        inside = {
            f"{figure}_{part}": meter.compute() for part, both in self.parts.items() for figure, meter in both.items()
        }
        numbers = {name: value for name, value in {**found, **inside}.items() if name in self.figures}
        numbers |= {name: meter.compute() for name, meter in self.pretrained.items()}
        return {name: value for name, value in numbers.items() if value == value}
