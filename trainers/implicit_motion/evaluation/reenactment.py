"""Measuring a network that moves a picture by the frames of a clip: implicit motion's base (IM-19)."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from datamodules.media.fitting import FitMode
from models.implicit_motion import ImplicitMotion
from pretrained.exports import Export, load_network
from settings.device import device_of
from trainers.evaluation import videos
from trainers.evaluation.comparison import spread, verdict
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.split import of_frames, split_results
from trainers.evaluation.tables import meanings
from trainers.evaluation.videos import Meters, load_shots
from trainers.implicit_motion.system import ReenactmentOptions

LABELS: Final = {"model": "this model", "source": "copied source frame", "mean_frame": "own mean frame (oracle)"}
FIGURES: Final = {name: figure for name, figure in videos.FIGURES.items() if name != "ssim_hands"}
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


def measure_reenactment(export: Export, options: ReenactmentOptions, folder: Path) -> dict[str, Any]:
    """Figures of the base network for `trainers.evaluate`: each clip rebuilt from its first frame.

    Raises:
        ConfigError: no clips with video in the splits.
    """
    device = device_of(options.device)
    network = load_network(ImplicitMotion, export).to(device)
    pretrained = Pretrained(options.weights)
    fit: FitMode = export.settings.get("data", {}).get("video_fit", "crop")
    splits = of_frames(options, pretrained, lambda split: _measure_split(network, options, split, pretrained, fit))
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
    shots = load_shots(
        options.shards, split, options.clips, options.seconds, (network.image_size, network.image_size), fit
    )
    meters = {name: Meters(pretrained, FIGURES) for name in LABELS}
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
    verdicts = {name: verdict(systems, name, FIGURES[name], LABELS, len(shots)) for name in deciding}
    infos, seconds = [shot.info for shot in shots], sum(len(shot.frames) / shot.info.fps for shot in shots)
    return split_results(infos, seconds, systems, LABELS, verdicts, seen_in_training=split == "train")
