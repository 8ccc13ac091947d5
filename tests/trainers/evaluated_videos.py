"""What tests of measuring latent video share: shards, and runs of small networks that were not trained."""

from pathlib import Path

import torch
import yaml

from models.mmgt.video import MMGTVideo
from settings.hashes import file_hash
from tests.autoencoders import FACTOR
from tests.models.filled import filled
from tests.shards import write_shards

KEYS = ("video.mp4", "pose.npz", "audio.flac", "speech.npz")
SIZE = (32, 48)
QUICK = {"reader_steps": 3, "splits": ["test"], "clips": None, "seconds": 1.0}
INSIDE = {f"{name}_{part}" for name in ("psnr", "ssim") for part in ("mouth", "hands", "mouth_hands")}
LONG = {"seam", "drift_colour", "drift_sharpness"}


def save(network, folder: Path, stage: str, shards: Path, **more) -> Path:
    """A run folder of a network, as after some training."""
    network.save_pretrained(folder / "export")
    settings = {"stage": {"name": stage, **more}, "data": {"name": "clips", "shards": str(shards)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def talking_shards(folder: Path) -> Path:
    """Six clips of somebody who speaks, half of them held out."""
    splits = ("train", "test", "train", "test")
    write_shards(folder, clips=6, seconds=(2.0, 1.2, 1.6), keys=KEYS, splits=splits, video_size=SIZE)
    return folder


def video_run(folder: Path, stage: str, shards: Path, autoencoder: Path, **options) -> Path:
    """A run of MMGT's video network of tiny sizes with random weights."""
    torch.manual_seed(0)
    sizes = {
        "channels": (8, 16), "layers": 1, "heads": 2, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
        "motion_frames": 16, "downscaling": FACTOR, "pose_channels": (4, 4, 8), "image_channels": 0, "audio_layers": 1,
        "audio_channels": 35, "audio_tokens": 4, "audio_width": 16, "window": 12, "fps": 25.0, "sampling_steps": 2,
        "guidance_reference": 1.0, "guidance_pose": 1.0, "guidance_audio": 1.0,
        "autoencoder": file_hash(autoencoder / "diffusion_pytorch_model.safetensors"),
    }  # fmt: skip
    network = filled(MMGTVideo(**{**sizes, **options}), std=0.3)
    return save(network, folder, stage, shards, autoencoder=str(autoencoder))
