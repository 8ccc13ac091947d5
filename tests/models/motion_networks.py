"""Small motion diffusions and inputs for them."""

from typing import Any

import torch
from torch import Tensor

from models.implicit_motion.motion import MotionDiffusion
from tests.models.filled import filled

B, WINDOW, C, A = 2, 18, 24, 8


def small(**options: Any) -> MotionDiffusion:
    """A network of some hundred weights, in evaluation mode."""
    torch.manual_seed(0)
    network = MotionDiffusion(
        **{
            "width": 32, "layers": 2, "heads": 2, "feedforward": 48, "motion_channels": C, "appearance_channels": A,
            "audio_width": 16, "audio_layers": 1, "audio_filters": 8, "audio_steps": 4, "window": WINDOW,
            "sampling_steps": 3, **options,
        }
    )  # fmt: skip
    # The head and the FiLMs start at zero, which would hide what comes before them.
    return filled(network, std=0.2).eval()


def inputs(network: MotionDiffusion, seed: int = 0) -> dict[str, Tensor]:
    """What `forward` takes, for a batch of two."""
    g = torch.Generator().manual_seed(seed)
    channels, hop = network.motion_channels, network.hop
    return {
        "noisy": torch.randn(B, hop, channels, generator=g),
        "timesteps": torch.tensor([3, 900]),
        "source": torch.randn(B, channels, generator=g),
        "appearance": torch.randn(B, network.appearance_channels, generator=g),
        "speech": speech(network, network.window, seed=seed),
        "before": torch.randn(B, 4, channels, generator=g),
    }


def speech(network: MotionDiffusion, frames: int, size: int = B, seed: int = 0) -> Tensor:
    """Sound or features of so many frames, as the network hears."""
    g = torch.Generator().manual_seed(seed)
    if network.audio == "raw":
        return 0.1 * torch.randn(size, frames * 640, generator=g)
    return torch.randn(size, frames, 35, generator=g)


def statistics(channels: int = C) -> dict[str, Any]:
    """Statistics of an index, as the motion stage needs them."""
    g = torch.Generator().manual_seed(1)
    return {
        "implicit": {
            "mean": torch.randn(channels, generator=g).tolist(),
            "std": (torch.rand(channels, generator=g) + 0.5).tolist(),
            "network": "ab" * 32,
        },
        "implicit_motion": {"std": (torch.rand(channels, generator=g) + 0.2).tolist()},
        "handcrafted": {"mean": [0.5] * 35, "std": [2.0] * 35},
    }
