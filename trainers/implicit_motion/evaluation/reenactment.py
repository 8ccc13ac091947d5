"""Measuring a network that moves a picture by the frames of a clip: implicit motion's base (IM-19)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
from models.implicit_motion import ImplicitMotion
from pretrained.exports import Export, load_network
from settings import get_logger
from settings.device import device_of
from trainers.evaluation.clips import ids_of, joined, present_splits
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.per_clip import PerClip
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.tables import meanings
from trainers.implicit_motion.system import ReenactmentOptions

logger = get_logger(__name__)

LABELS: Final = {"model": "this model", "source": "copied source frame", "mean_frame": "own mean frame (oracle)"}
DILATION: Final = 0.1  # of a box's width and height, on each side
FIGURES: Final = {
    "psnr": Figure("PSNR", "higher", "peak signal-to-noise ratio of frames, dB"),
    "ssim": Figure("SSIM", "higher", "structural similarity of frames"),
    "psnr_mouth_hands": Figure("PSNR, mouth and hands", "higher", "dB inside the true boxes of mouth and hands"),
    "ssim_mouth_hands": Figure("SSIM, mouth and hands", "higher", "SSIM inside the true boxes of mouth and hands"),
    "psnr_mouth": Figure("PSNR, mouth", "higher", "dB inside the true box of the mouth"),
    "ssim_mouth": Figure("SSIM, mouth", "higher", "SSIM inside the true box of the mouth"),
    "psnr_hands": Figure("PSNR, hands", "higher", "dB inside the true boxes of the hands"),
}
DECIDING: Final = ("psnr_mouth_hands", "ssim")
PAPER: Final[list[dict[str, Any]]] = [
    {"system": "LivePortrait", "psnr": 32.518, "ssim": 0.941},
    {"system": "MCNet", "psnr": 32.804, "ssim": 0.940},
    {"system": "Implicit motion", "psnr": 34.661, "ssim": 0.953},
]
PAPER_SOURCE: Final = "Implicit motion, table I, MEAD, 256 x 256"
DIFFERENT: Final = (
    "The paper's figures are of other data (MEAD) and of 256 x 256 pixels; they may not be compared with these."
)
_PARTS: Final = {"mouth_hands": (LIPS, LEFT_HAND, RIGHT_HAND), "mouth": (LIPS,), "hands": (LEFT_HAND, RIGHT_HAND)}


@dataclass(frozen=True)
class Shot:
    """A clip that is measured.

    Attributes:
        info: its clip.json.
        frames: (T, 3, S, S) uint8.
        pose: (T, 134, 3), None where the clip has none; then there are no figures of mouth and hands.
    """

    info: ClipInfo
    frames: Tensor
    pose: Tensor | None


def measure_reenactment(export: Export, options: ReenactmentOptions, folder: Path) -> dict[str, Any]:
    """Figures of the base network for `trainers.evaluate`: each clip rebuilt from its first frame.

    Raises:
        ConfigError: no clips with video in the splits.
    """
    device = device_of(options.device)
    network = load_network(ImplicitMotion, export).to(device)
    pretrained = Pretrained(options.weights)
    if pretrained.missing:
        logger.info("left out, for want of weights: %s", ", ".join(pretrained.missing))
    splits = {}
    fit: FitMode = export.settings.get("data", {}).get("video_fit", "crop")
    for split in present_splits(Index.load(options.shards), options, ("video.mp4",), "video"):
        started = time.perf_counter()
        splits[split] = _measure_split(network, options, split, pretrained, fit)
        logger.info("%s: %d clips, %.0f s", split, splits[split]["clips"], time.perf_counter() - started)
    return {
        "figures": meanings({**FIGURES, **pretrained.figures}),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


@torch.no_grad()
def rebuild(network: ImplicitMotion, frames: Tensor, batch: int, beta: float | None = None) -> Tensor:
    """A clip's frames (T, 3, S, S) uint8, rebuilt from the first of them and the motion features of each, in [0, 1]."""
    device = next(network.parameters()).device
    source = network.encode_source(frames[:1].to(device).float() / 255)
    output = []
    for part in frames.split(batch):
        motion = network.encode_motion(part.to(device).float() / 255)
        output.append(network.render(source, motion[None], beta)[0].float().cpu())
    return torch.cat(output)


def _measure_split(
    network: ImplicitMotion, options: ReenactmentOptions, split: str, pretrained: Pretrained, fit: FitMode = "crop"
) -> dict[str, Any]:
    shots = load_shots(options.shards, split, options.clips, options.seconds, network.image_size, fit)
    meters = {name: Meters(pretrained) for name in LABELS}
    options.progress.expect(len(shots))
    for shot in shots:
        still = shot.frames[:1].expand_as(shot.frames)
        mean = (shot.frames.float().mean(0, keepdim=True) / 255).expand(shot.frames.shape)
        meters["model"].update(rebuild(network, shot.frames, options.batch), shot)
        meters["source"].update(still, shot)
        meters["mean_frame"].update(mean, shot)
        options.progress.advance(1, "clips rebuilt")
    systems = {name: spread([meter.compute()]) for name, meter in meters.items() if options.wants(name)}
    deciding = [name for name in DECIDING if name in systems["model"]]
    return {
        "clips": len(shots),
        "ids": [shot.info.id for shot in shots],
        "seconds": float(sum(len(shot.frames) / shot.info.fps for shot in shots)),
        "speakers": len({shot.info.speaker for shot in shots}),
        "seen_in_training": split == "train",
        "systems": systems,
        "labels": {name: LABELS[name] for name in systems},
        "verdicts": {name: verdict(systems, name, FIGURES[name], LABELS, len(shots)) for name in deciding},
    }


def load_shots(
    shards: str, split: str, limit: int | None, seconds: float | None, size: int, how: FitMode = "crop"
) -> list[Shot]:
    """Clips of a split with their frames at `size` x `size` pixels, at most `limit` of them, evenly taken.

    Oblong frames are fitted as in training (`data.video_fit`), and poses with them.
    """
    index = Index.load(shards)
    there = ids_of(index, split, ("video.mp4",), limit)
    with_pose = set(there) <= set(ids_of(index, split, ("video.mp4", "pose.npz")))
    return list(read_shots(shards, there, seconds, size, how, with_pose))


def read_shots(
    shards: str, ids: list[str], seconds: float | None, size: int, how: FitMode = "crop", with_pose: bool = True
) -> Iterator[Shot]:
    """The clips with these ids, one after another, likewise."""
    keys = ("video.mp4", "pose.npz") if with_pose else ("video.mp4",)
    for info, values in read_clips(shards, keys, where={"id": ids}):
        count = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        fit = Fit.of(info.height, info.width, (size, size), how)
        frames = read_window(values["video.mp4"], 0, count, fit, info.id)
        pose = torch.from_numpy(fit.moved(joined(values["pose.npz"])[:count])) if "pose.npz" in values else None
        yield Shot(info, torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))), pose)


class Meters:
    """All figures of one system.

    Args:
        networks: what figures beyond pixels stand on.
    """

    def __init__(self, networks: Pretrained) -> None:
        import metrics

        self.networks, self.pretrained = networks, networks.meters()
        self.whole = {"psnr": PerClip(metrics.PSNR()), "ssim": PerClip(metrics.SSIM())}
        self.parts = {
            name: {"psnr": PerClip(metrics.RegionPSNR(DILATION)), "ssim": PerClip(metrics.RegionSSIM(DILATION))}
            for name in _PARTS
        }

    def update(self, generated: Tensor, shot: Shot) -> None:
        """Add a clip's frames (T, 3, S, S)."""
        from metrics.regions import part_boxes

        self.networks.update(self.pretrained, generated, shot.frames, shot.pose)
        for meter in self.whole.values():
            meter.update(generated, shot.frames)
        if shot.pose is not None:
            for name, parts in _PARTS.items():
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
        numbers = {name: value for name, value in {**found, **inside}.items() if name in FIGURES}
        numbers |= {name: meter.compute() for name, meter in self.pretrained.items()}
        return {name: value for name, value in numbers.items() if value == value}
