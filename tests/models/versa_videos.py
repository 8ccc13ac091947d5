"""A small video network of VersaAnimator, and inputs for it."""

import dataclasses

import torch

from models.versa.video.conditions import VersaInputs
from models.versa.video.network import VersaVideo
from tests.models.filled import filled

B, T = 2, 3
SIZE = 5, 3
"""Rows and columns of latents: neither square nor divided by the levels."""
SMALL = {
    "channels": (32, 64),  # group norms of SVD have 32 groups
    "layers": 1,
    "head_channels": 16,
    "cross_channels": 8,
    "time_channels": 8,
    "latent_scale": 0.5,
    "downscaling": 4,
    "pose_channels": (4, 4, 8),
    "image_channels": 6,
    "identity_channels": 12,
    "identity_tokens": 2,
    "expressions": ("neutral", "happy", "sad"),
    "audio_layers": 2,
    "audio_channels": 5,
    "audio_tokens": 2,
    "audio_width": 16,
    "sampling_steps": 3,
    "window": 4,
    "fps": 30.0,
}


def fresh(**options) -> VersaVideo:
    """As it is before training: what is new in it changes nothing yet."""
    torch.manual_seed(0)
    return VersaVideo(**{**SMALL, **options}).eval()


def tiny(**options) -> VersaVideo:
    """As it is after some training: no weight is zero."""
    return filled(fresh(**options), std=0.3)


def inputs(network: VersaVideo, size: tuple[int, int] = SIZE, frames: int = T, batch: int = B, seed: int = 0):
    """Conditions of every kind, at random."""
    g = torch.Generator().manual_seed(seed)
    f = network.downscaling

    def normal(*shape):
        return torch.randn(batch, *shape, generator=g)

    given = VersaInputs(
        reference=normal(network.latent_channels, *size),
        image=normal(1, network.image_channels) if network.image_channels else None,
        skeletons=torch.rand(batch, frames, 3, f * size[0], f * size[1], generator=g),
        augmentation=torch.rand(batch, generator=g),
    )
    if not network.face_attention:
        return given
    return dataclasses.replace(
        given,
        identity=normal(network.face_tokens.identity_channels),
        audio=normal(frames, *network.audio_projection.shape),
        expression=torch.randint(0, len(network.expressions), (batch, frames), generator=g),
        blink=torch.rand(batch, frames, generator=g),
    )


def noisy(network: VersaVideo, size: tuple[int, int] = SIZE, frames: int = T, batch: int = B, seed: int = 1):
    """Noisy latents (B, C, T, h, w) and their levels (B,)."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, network.latent_channels, frames, *size, generator=g), torch.tensor([3.0, 0.4])[:batch]


OTHERS = {
    "identity": lambda x: x.flip(-1),
    "audio": lambda x: x.flip(-1),
    "expression": lambda x: (x + 1) % 3,
    "blink": lambda x: 1 - x,
}
"""Another value of each condition of the face."""


def changed(given: VersaInputs, name: str, frame: int | None = None) -> VersaInputs:
    """Inputs of which one condition of the face is another, in one frame or in all."""
    before = getattr(given, name)
    after = OTHERS[name](before)
    if frame is not None:
        after = torch.cat([before[:, :frame], after[:, frame : frame + 1], before[:, frame + 1 :]], 1)
    return dataclasses.replace(given, **{name: after})


def differs(a: torch.Tensor, b: torch.Tensor, least: float = 1e-4) -> bool:
    return bool((a - b).abs().max() > least)
