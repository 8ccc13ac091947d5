"""What VersaAnimator's evaluator measures in tests: networks of one step, clips of heads, halves and whole people."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from models.versa.video.network import VersaVideo
from preprocessing.features.run import Options, make_features
from settings.hashes import file_hash
from tests.autoencoders import FACTOR
from tests.models.filled import filled
from tests.models.versa_videos import SMALL
from tests.shards import Members, write_shards

KEYS = ("video.mp4", "pose.npz", "audio.flac", "speech.npz", "face.npz")
SIZE = (32, 48)
SCALES = ("head", "half", "whole")


def video_run(folder: Path, stage: str, shards: Path, autoencoder: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    sizes = {
        **SMALL, "latent_scale": 1.0, "downscaling": FACTOR, "image_channels": 0, "identity_channels": 512,
        "audio_layers": 1, "audio_channels": 35, "sigma_max": 20.0, "sampling_steps": 1, "window": 8, "fps": 25.0,
        "guidance_reference": 1.0, "autoencoder": file_hash(autoencoder / "diffusion_pytorch_model.safetensors"),
    }  # fmt: skip
    filled(VersaVideo(**{**sizes, **options}), std=0.3).save_pretrained(folder / "export")
    settings = {"stage": {"name": stage, "autoencoder": str(autoencoder)}, "data": {"shards": str(shards)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def clips_of_every_scale(folder: Path) -> Path:
    """Three test clips, one of each scale, with whose faces they show by the network that needs no weights."""
    splits = ("train", "test", "train", "test", "train", "test")

    def all_seen(clip: int, members: Members) -> Members:
        """Poses of which every point is seen."""
        found = dict(members)
        with np.load(io.BytesIO(found["pose.npz"])) as pose:
            points = np.where(pose["scores"][..., None] > 0, pose["keypoints"], np.float32(0.5 + 0.01 * clip))
        buffer = io.BytesIO()
        np.savez(buffer, keypoints=points, scores=np.ones(points.shape[:2], np.float32))
        return list((found | {"pose.npz": buffer.getvalue()}).items())

    def info(clip: int) -> dict[str, Any]:
        return {"extra": {"scale": SCALES[clip // 2], "expression": ("happy", "sad")[clip % 2]}}

    write_shards(
        folder / "plain", clips=6, seconds=1.0, keys=KEYS, splits=splits, video_size=SIZE, info=info,
        speakers=("ann", "ann", "bob", "bob"), change=all_seen,
    )  # fmt: skip
    options = Options(
        input=str(folder / "plain"), output=str(folder / "shards"), network="colours", writer={"name": "identity"},
        workers=0, progress=False,
    )  # fmt: skip
    make_features(options)
    return folder / "shards"
