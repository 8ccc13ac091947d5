"""Small stages of MMGT's video diffusion, and batches for them."""

from pathlib import Path
from typing import Any

import torch

from datamodules.batch import Batch
from models.human.keypoints import POINTS
from preprocessing.features.run import Options, make_features
from pretrained.faces import COLOURS
from settings import build
from tests.autoencoders import FACTOR
from tests.models.filled import filled
from tests.models.small import statistics
from tests.nested import nested
from tests.shards import write_shards
from trainers.fit import fit
from trainers.mmgt.video_audio import VideoAudioStage
from trainers.mmgt.video_pose import VideoPoseStage
from trainers.mmgt.video_stage import VideoStage

B, F, T = 3, 10, 4
H, W = 24, 16
NETWORK: dict[str, Any] = {
    "channels": [8, 16], "layers": 1, "heads": 2, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
    "motion_frames": 16, "downscaling": FACTOR, "pose_channels": [4, 4, 8], "image_channels": 0, "audio_layers": 1,
    "audio_channels": 35, "audio_tokens": 2, "audio_width": 8, "window": T, "sampling_steps": 2, "train_steps": 50,
    "guidance_reference": 1.0, "guidance_pose": 1.0, "guidance_audio": 1.0,
}  # fmt: skip
KINDS: dict[str, type[VideoStage]] = {"video_pose": VideoPoseStage, "video_audio": VideoAudioStage}


def options(**changed: Any) -> dict[str, Any]:
    return {**NETWORK, **changed}


def base_of(folder: Path, autoencoder: Path, **changed: Any) -> Path:
    """A saved network of the first step, as after some training."""
    made = stage("video_pose", autoencoder, **changed)
    made.network.save_pretrained(folder)
    (folder / "config.yaml").write_text("stage: {name: mmgt.video_pose}")
    (folder / "export").mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(folder / "export" / name)
    return folder


def stage(kind: str, autoencoder: Path | None, base: Path | None = None, **changed: Any) -> Any:
    """A stage in training mode, with weights that are nowhere zero, outside of any trainer."""
    torch.manual_seed(0)
    given = {"autoencoder": None if autoencoder is None else str(autoencoder), **options(**changed)}
    if base is not None:
        given["base"] = str(base)
    output = KINDS[kind](**nested(KINDS[kind], **given))
    output.use_statistics(statistics())
    for p in output.network.parameters():
        if base is None or p.requires_grad:
            filled(torch.nn.ParameterList([p]))
    output.logged = {}
    output.log = lambda name, value, **more: output.logged.__setitem__(name, float(torch.as_tensor(value).detach()))
    return output.train()


def batch(cached: bool = True, layers: tuple[int, int] | None = None, image: int = 0, **more: Any) -> Batch:
    """Windows of random poses, with latents (or frames to encode) of H x W pixels."""
    g = torch.Generator().manual_seed(0)
    pose = torch.rand(B, F, POINTS, 3, generator=g) * 0.5 + 0.3
    pose[..., 2] = 1
    h, w = -(-H // FACTOR), -(-W // FACTOR)
    arrays: dict[str, dict[str, torch.Tensor]] = {}
    if cached:
        arrays["latents"] = {
            "mean": torch.randn(B, F, 4, h, w, generator=g),
            "log_variance": torch.randn(B, F, 4, h, w, generator=g) - 6,
            "network": torch.zeros(B, 32, dtype=torch.uint8),
        }
    if image:
        arrays["image"] = {"tokens": torch.randn(B, F, image, generator=g)}
    return Batch(
        **{
            "ids": [f"clip{number}@0" for number in range(B)],
            "starts": torch.zeros(B, dtype=torch.long),
            "fps": 25.0,
            "pose": pose,
            "speech": torch.randn(B, F, 35, generator=g),
            "speech_layers": None if layers is None else torch.randn(B, layers[0], 2 * F, layers[1], generator=g),
            "video": None if cached else torch.randint(0, 256, (B, F, 3, H, W), dtype=torch.uint8, generator=g),
            "arrays": arrays,
            **more,
        }
    )


def of_its_own(made: Any, given: Batch) -> Batch:
    """A batch whose latents say that the stage's autoencoder made them."""
    sha256 = torch.tensor(list(bytes.fromhex(made.latents.sha256)), dtype=torch.uint8)
    given.arrays["latents"]["network"] = sha256.expand(B, -1)
    return given


def latent_shards(
    folder: Path, autoencoder: Path, seconds: float | list[float] = [0.8, 1.0], faces: bool = False
) -> Path:
    """Six short clips with speech and frames of H x W pixels, and their latents; labelled faces, and whose they are."""
    keys = ("video.mp4", "audio.flac", "pose.npz", "speech.npz", *(("face.npz",) if faces else ()))
    write_shards(
        folder / "frames", clips=6, seconds=seconds, keys=keys, video_size=(H, W), splits=("train", "train", "val"),
        info=(lambda clip: {"extra": {"expression": ("happy", "sad")[clip % 2]}}) if faces else None,
    )  # fmt: skip
    made = "frames"
    for writer, network in (("latents", str(autoencoder)), *((("identity", COLOURS),) if faces else ())):
        options = Options(
            input=str(folder / made), output=str(folder / writer), network=network, writer={"name": writer}, workers=0,
            progress=False,
        )  # fmt: skip
        make_features(options)
        made = writer
    return folder / made


def run(kind: str, folder: Path, shards: Path, autoencoder: Path, base: Path | None = None, **changes: Any) -> Path:
    """Train a small stage for four steps in this process, sections changed as given."""
    stage: dict[str, Any] = {
        "name": kind if "." in kind else f"mmgt.{kind}", "network": options(), "autoencoder": str(autoencoder),
        "optimizer": {"name": "adam", "lr": 1e-3},
    }  # fmt: skip
    sections: dict[str, Any] = {
        "stage": stage if base is None else stage | {"base": str(base)},
        "data": {"name": "clips", "shards": str(shards), "window": 8, "batch_size": 2, "stride": 0.2, "workers": 0},
        "trainer": {
            "max_steps": 4, "accelerator": "cpu", "log_every_n_steps": 1, "val_check_interval": 2,
            "check_val_every_n_epoch": None, "enable_progress_bar": False,
        },
        "checkpoint": {"every_n_steps": 2, "monitor": "val/rmse", "keep_last": 0},
        "samples": {"count": 0},
        "ema": {"decay": 0.8, "every_n_steps": 1},
    }  # fmt: skip
    for name, value in changes.items():
        sections[name] = sections[name] | value if isinstance(value, dict) and name in sections else value
    return build(sections | {"run": folder}, fit)
