"""A small SMGA and inputs for it."""

import numpy as np
import torch

from models.human.keypoints import FACE, POINTS
from models.mmgt import SMGA
from tests.models.filled import filled

B, T = 2, 12
FACE_CHANNELS = torch.zeros(POINTS, 3, dtype=torch.bool)
FACE_CHANNELS[FACE] = True
FACE_CHANNELS = FACE_CHANNELS.flatten()


def tiny(**options) -> SMGA:
    torch.manual_seed(0)
    network = SMGA(
        **{"width": 32, "layers": 2, "heads": 2, "feedforward": 48, "audio_layers": 1, "window": T, **options}
    )
    # The head and the FiLMs start at zero, which would hide what comes before them.
    return filled(network, std=0.2).eval()


def inputs(channels: int = 35, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "noisy": torch.randn(B, T, 402, generator=g),
        "timesteps": torch.tensor([3, 900]),
        "first_pose": torch.randn(B, 402, generator=g),
        "audio": torch.randn(B, T, channels, generator=g),
    }


def statistics() -> dict:
    g = np.random.default_rng(0)
    return {
        "pose": {"mean": g.uniform(0.3, 0.7, (134, 2)).tolist(), "std": g.uniform(0.05, 0.1, (134, 2)).tolist()},
        "pose_motion": {"std": g.uniform(0.01, 0.02, (134, 2)).tolist()},
        "handcrafted": {"mean": g.normal(5, 1, 35).tolist(), "std": g.uniform(1, 2, 35).tolist()},
    }


def poses(seed: int = 0) -> torch.Tensor:
    return torch.rand(B, T, POINTS, 3, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
