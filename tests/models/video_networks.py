"""A small second stage of MMGT, and inputs for it."""

import dataclasses

import torch

from models.mmgt.video import MMGTVideo
from models.video.conditions import VideoInputs
from tests.models.filled import filled

B, T = 2, 3
SIZE = 5, 3
"""Rows and columns of latents: neither square nor divided by the levels."""
SMALL = {
    "channels": (8, 16),
    "layers": 1,
    "heads": 2,
    "cross_channels": 8,
    "norm_groups": 4,
    "motion_heads": 2,
    "motion_frames": 8,
    "downscaling": 4,
    "pose_channels": (4, 4, 8),
    "image_channels": 6,
    "audio_layers": 2,
    "audio_channels": 5,
    "audio_tokens": 4,
    "audio_width": 16,
    "window": 4,
    "fps": 30.0,
}


def fresh(**options) -> MMGTVideo:
    """As it is before training: what is new in it changes nothing yet."""
    torch.manual_seed(0)
    return MMGTVideo(**{**SMALL, **options}).eval()


def tiny(**options) -> MMGTVideo:
    """As it is after some training: no weight is zero."""
    return filled(fresh(**options), std=0.3)


def inputs(network: MMGTVideo, size: tuple[int, int] = SIZE, frames: int = T, batch: int = B, seed: int = 0):
    """Conditions of every kind, at random."""
    g = torch.Generator().manual_seed(seed)
    h, w = size
    f = network.downscaling

    def normal(*shape):
        return torch.randn(batch, *shape, generator=g)

    def picture(*shape):
        return torch.rand(batch, *shape, 3, f * h, f * w, generator=g)

    return VideoInputs(
        reference=normal(network.latent_channels, h, w),
        image=normal(1, network.image_channels) if network.image_channels else None,
        skeletons=picture(frames),
        reference_skeleton=picture(),
        audio=normal(frames, *network.audio_projection.shape) if network.use_audio else None,
        masks=picture(frames),
    )


def noisy(network: MMGTVideo, size: tuple[int, int] = SIZE, frames: int = T, batch: int = B, seed: int = 1):
    """Noisy latents (B, C, T, h, w) and their levels (B,)."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, network.latent_channels, frames, *size, generator=g), torch.tensor([400, 10])[:batch]


def changed(given: VideoInputs, *names: str, frame: int | None = None) -> VideoInputs:
    """Inputs of which some are turned about their last axis, in one frame or in all."""
    new = {}
    for name in names:
        value = getattr(given, name)
        new[name] = value.flip(-1) if frame is None else value.clone()
        if frame is not None:
            new[name][:, frame] = value[:, frame].flip(-1)
    return dataclasses.replace(given, **new)


def differs(a: torch.Tensor, b: torch.Tensor, least: float = 1e-4) -> bool:
    return bool((a - b).abs().max() > least)
