"""The rows of VersaAnimator's video half among those of latent video (`python -m benchmarks.video versa`)."""

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from benchmarks.latent_video import autoencoder_at, by_length, calls_of, compared, in_turns, kept_bytes
from models.versa.video.conditions import VersaInputs
from models.versa.video.generate import VersaDriving, VersaSource, generate_latents
from models.versa.video.network import VersaVideo
from models.versa.video.sample import sample_window
from models.video.latents import encode

FACTOR: Final = 4
TINY: Final[dict[str, Any]] = {
    "channels": (32, 64, 96), "layers": 1, "head_channels": 16, "cross_channels": 64, "time_channels": 32,
    "downscaling": FACTOR, "pose_channels": (16, 32, 64), "image_channels": 16, "sigma_max": 80.0, "audio_layers": 1,
    "audio_channels": 35, "audio_tokens": 4, "audio_width": 64, "guidance_reference": 1.0, "window": 8,
}  # fmt: skip
"""Sizes of a tiny network, and an image encoder's token, so that all is there."""
PAPER: Final = (16, 576, 1024)
STEPS: Final = 20
FRAMES: Final = 8
LENGTHS: Final = (8, 22, 43, 85)


def measure(folder: Path, size: int, repeats: int) -> dict[str, Any]:
    """Activations, what is computed once, and seconds a frame by length."""
    torch.manual_seed(0)
    tiny = activations(VersaVideo(**TINY), (FRAMES, size, size))
    with torch.device("meta"):
        paper = VersaVideo()
    frames, height, width = PAPER
    return {
        "activations": {
            "tiny": tiny, f"paper, {frames} x {height} x {width}, fp32": activations(paper, PAPER, "meta")
        },
        "once": once(folder, size, repeats),
        "length": length(size, repeats),
    }  # fmt: skip


def random_inputs(network: VersaVideo, frames: int, height: int, width: int, device: str = "cpu") -> VersaInputs:
    """Random conditions of one clip, of every kind."""
    draw = None if device == "meta" else torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, device=device, generator=draw)

    rows, columns = height // network.downscaling, width // network.downscaling
    return VersaInputs(
        reference=normal(network.latent_channels, rows, columns),
        image=normal(1, network.image_channels) if network.image_channels else None,
        skeletons=normal(frames, 3, height, width),
        identity=normal(network.face_tokens.identity_channels),
        audio=normal(frames, *network.audio_projection.shape),
        expression=torch.zeros(1, frames, dtype=torch.long, device=device),
        blink=torch.full((1, frames), 0.3, device=device),
    )


def activations(network: VersaVideo, size: tuple[int, int, int], device: str = "cpu") -> dict[str, float]:
    """MB kept for the backward pass beside weights and inputs, without and with checkpointing, and their ratio.

    Args:
        network: that is trained.
        size: frames, rows and columns of pixels.
        device: "meta" counts without computing.
    """
    network.train()
    given, (frames, height, width) = random_inputs(network, *size, device), size
    side = height // network.downscaling, width // network.downscaling
    noisy = torch.randn(1, network.latent_channels, frames, *side, device=device)
    levels, kept = torch.ones(1, device=device), []
    for recompute in (False, True):
        network.denoiser.recompute = recompute
        kept.append(kept_bytes(network, lambda: network(noisy, levels, given)))
    return {"kept MB": kept[0] / 1e6, "with checkpointing MB": kept[1] / 1e6, "ratio": kept[1] / kept[0]}


def once(folder: Path, size: int, repeats: int) -> dict[str, Any]:
    """Calls for a clip of one window, and seconds beside sampling that encodes its conditions at every step."""
    vae = AutoencoderKL.from_pretrained(autoencoder_at(folder / "vae-versa")).eval()
    torch.manual_seed(0)
    network = VersaVideo(**TINY).eval()
    given = random_inputs(network, FRAMES, size, size)
    noise = torch.randn(1, 4, FRAMES, size // FACTOR, size // FACTOR)
    picture = torch.zeros(1, 3, size, size, dtype=torch.uint8)

    def whole() -> None:
        reference = encode(vae, picture)[0]
        for _ in generate_latents(network, _source(given, reference, FRAMES), steps=STEPS):
            pass

    faces = network.face_tokens
    parts = {
        "VAE encoder": vae.encoder, "image token": network.image_projection, "pose guider": network.pose_guider,
        "audio projection": network.audio_projection, "identity": faces.identity, "expression": faces.expression,
        "blink": faces.blink, "denoiser": network.denoiser,
    }  # fmt: skip
    counts = calls_of(parts, whole)
    took = in_turns(repeats, once=whole, **{"every step": lambda: sample_window(network, given, noise, steps=STEPS)})
    return {"steps": STEPS, "frames": FRAMES, **counts, **compared(took)}


def length(size: int, repeats: int) -> list[dict[str, float]]:
    """Seconds a frame of clips of several lengths, in turns."""
    torch.manual_seed(0)
    network = VersaVideo(**TINY).eval()
    given = random_inputs(network, FRAMES, size, size)

    def make(frames: int) -> None:
        for _ in generate_latents(network, _source(given, given.reference, frames), steps=4):
            pass

    return by_length(make, LENGTHS, repeats)


def _source(given: VersaInputs, reference: Tensor, frames: int) -> VersaSource:
    """A clip whose conditions are repeated without end."""

    def drive(begin: int, end: int) -> VersaDriving:
        at = torch.arange(begin, end) % FRAMES
        return VersaDriving(**{each.name: getattr(given, each.name)[:, at] for each in fields(VersaDriving)})

    return VersaSource(frames, reference, drive, given.image, given.identity)
