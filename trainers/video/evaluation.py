"""Measuring the autoencoder of latent video: the ceiling of whatever makes its latents."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index
from models.video.autoencoder import VideoAutoencoder
from models.video.latents import decode, encode, latent_size
from pretrained.exports import Export, load_network
from settings.device import device_of
from trainers.evaluation.clips import ids_of
from trainers.evaluation.comparison import spread, verdict
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.split import of_frames, split_results
from trainers.evaluation.tables import meanings
from trainers.evaluation.videos import FIGURES, Meters, read_shots
from trainers.video.system import AutoencoderOptions

LABELS: Final = {"model": "this autoencoder", "bicubic": "made smaller by f, and larger again"}
DECIDING: Final = ("psnr", "psnr_mouth_hands", "ssim")
PAPER_SOURCE: Final = "stabilityai/sd-vae-ft-mse, its model card, COCO 2017 validation, 256 x 256"
PAPER: Final[list[dict[str, Any]]] = [
    {"system": "original kl-f8 VAE", "psnr": 23.4, "ssim": 0.69},
    {"system": "ft-EMA", "psnr": 23.8, "ssim": 0.69},
    {"system": "ft-MSE", "psnr": 24.5, "ssim": 0.71},
]
DIFFERENT: Final = (
    "The published figures are of photographs of everything (COCO) at f = 8; they may not be compared with these."
)


def measure_autoencoder(export: Export, options: AutoencoderOptions, folder: Path) -> dict[str, Any]:
    """Figures of the autoencoder for `trainers.evaluate`: frames decoded from their most likely latents.

    Frames come at the size of its training (data.video_size), or at their own.

    Raises:
        ConfigError: no clips with video in the splits.
    """
    device = device_of(options.device)
    network = load_network(VideoAutoencoder, export).to(device)
    pretrained = Pretrained(options.weights)
    trained = export.settings.get("data", {})
    size, fit = trained.get("video_size"), trained.get("video_fit", "crop")
    shape = (size[0], size[1]) if size else None
    splits = of_frames(
        options, pretrained, lambda split: _measure_split(network, options, split, pretrained, shape, fit)
    )
    return {
        "figures": meanings({**FIGURES, **pretrained.figures}),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


def rebuild(network: VideoAutoencoder, frames: Tensor, batch: int) -> Tensor:
    """Frames (T, 3, H, W) uint8, decoded from the means of their latents, in [0, 1]."""
    means = torch.cat([encode(network.vae, part)[0] for part in frames.split(batch)])
    return decode(network.vae, means, (frames.shape[-2], frames.shape[-1]), batch).float().cpu()


def smaller_and_larger(network: VideoAutoencoder, frames: Tensor) -> Tensor:
    """Frames (T, 3, H, W) uint8 brought to the latents' rows and columns and back by cubic interpolation, in [0, 1]."""
    height, width = frames.shape[-2:]
    pictures = frames.float() / 255
    small = interpolate(pictures, latent_size(network.vae, height, width), mode="bicubic", antialias=True)
    return interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def _measure_split(
    network: VideoAutoencoder,
    options: AutoencoderOptions,
    split: str,
    pretrained: Pretrained,
    size: tuple[int, int] | None,
    fit: FitMode,
) -> dict[str, Any]:
    index = Index.load(options.shards)
    ids = ids_of(index, split, ("video.mp4",), options.clips)
    with_pose = set(ids) <= set(ids_of(index, split, ("video.mp4", "pose.npz")))
    meters = {name: Meters(pretrained) for name in LABELS}
    options.progress.expect(len(ids))
    seconds, infos = 0.0, []
    for shot in read_shots(options.shards, ids, options.seconds, size, fit, with_pose):
        meters["model"].update(rebuild(network, shot.frames, options.batch), shot)
        meters["bicubic"].update(smaller_and_larger(network, shot.frames), shot)
        seconds += len(shot.frames) / shot.info.fps
        infos.append(shot.info)
        options.progress.advance(1, "clips rebuilt")
    systems = {name: spread([meter.compute()]) for name, meter in meters.items() if options.wants(name)}
    deciding = [name for name in DECIDING if name in systems["model"]]
    verdicts = {name: verdict(systems, name, FIGURES[name], LABELS, len(infos)) for name in deciding}
    return split_results(infos, seconds, systems, LABELS, verdicts, seen_in_training=split == "train")
