"""A person, and small networks of VersaAnimator's video half, for tests of its animator."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image

from datamodules.media.files import read_frames
from models.human.keypoints import FACE, POINTS
from models.versa.video.network import VersaVideo
from settings.hashes import file_hash
from tests.autoencoders import FACTOR, save_autoencoder
from tests.models.filled import filled
from tests.models.versa_videos import SMALL
from trainers.animate import animate
from trainers.animation.files import write_poses

FPS = 25.0
SECONDS = 0.4
FRAMES = 10
HEIGHT, WIDTH = 42, 34
"""Neither square nor a multiple of anything that the network is made of, but for 2, which videos want."""


def save_network(folder: Path, stage: str, autoencoder: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    sizes = {
        **SMALL, "latent_scale": 1.0, "downscaling": FACTOR, "image_channels": 0, "identity_channels": 512,
        "audio_layers": 1, "audio_channels": 35, "sigma_max": 20.0, "sampling_steps": 2, "window": 6, "fps": FPS,
        "guidance_reference": 1.5, "autoencoder": file_hash(autoencoder / "diffusion_pytorch_model.safetensors"),
    }  # fmt: skip
    filled(VersaVideo(**{**sizes, **options}), std=0.3).save_pretrained(folder / "export")
    settings = {
        "stage": {"name": stage, "autoencoder": str(autoencoder)},
        "data": {"name": "clips", "video_size": [HEIGHT, HEIGHT]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def write_world(folder: Path) -> dict[str, Path]:
    """Networks of both steps, a picture, its pose, poses to follow, speech."""
    autoencoder = save_autoencoder(folder / "vae")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / "me.png")
    pose = np.concatenate([rng.uniform(0.3, 0.7, (1, POINTS, 2)), np.ones((1, POINTS, 1))], -1).astype(np.float32)
    pose[:, FACE, :2] = rng.uniform(0.4, 0.6, (1, 68, 2))
    write_poses(folder / "pose.npz", pose, (HEIGHT, WIDTH), FPS)
    moving = np.repeat(pose, FRAMES, 0)
    moving[..., 0] += 0.01 * np.arange(FRAMES)[:, None]
    write_poses(folder / "driving.npz", moving, (HEIGHT, WIDTH), FPS)
    pose[:, FACE] = (-1, -1, 0)
    write_poses(folder / "faceless.npz", pose, (HEIGHT, WIDTH), FPS)
    times = np.arange(round(SECONDS * 16_000)) / 16_000
    soundfile.write(folder / "speech.wav", 0.4 * np.sin(2 * np.pi * 150 * times) * np.sin(8 * times), 16_000)
    return {
        "audio_run": save_network(folder / "audio", "versa.audio_video", autoencoder),
        "pose_run": save_network(folder / "pose", "versa.pose_video", autoencoder, face_attention=False),
        "folder": folder,
        "image": folder / "me.png",
        "pose": folder / "pose.npz",
        "faceless": folder / "faceless.npz",
        "driving": folder / "driving.npz",
        "audio": folder / "speech.wav",
    }


def make(world: dict[str, Path], out: Path, run: str = "audio_run", **options: Any) -> Any:
    """A video of the person in the picture."""
    asked = {"image": world["image"], "pose": world["pose"], **options}
    return animate(run=str(world[run]), out=out, **asked)


def pixels(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path))).astype(int)


def joined(path: Path) -> np.ndarray:
    """Poses (T, 134, 3) of a file."""
    with np.load(path) as poses:
        return np.concatenate([poses["keypoints"], poses["scores"][..., None]], -1)
