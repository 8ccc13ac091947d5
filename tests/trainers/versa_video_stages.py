"""Small stages of VersaAnimator's video half, and batches for them."""

from pathlib import Path
from typing import Any

import torch

from datamodules.batch import Batch
from datamodules.clip import ClipInfo
from tests.autoencoders import FACTOR
from tests.models.filled import filled
from tests.models.small import statistics
from tests.nested import nested
from tests.trainers.video_stages import B, F, batch, of_its_own
from trainers.versa.audio_video import AudioVideoStage
from trainers.versa.pose_video import PoseVideoStage

T = 4
LABELS = ("neutral", "happy", "sad")
FACES = 6
"""Numbers of a face's embedding."""
NETWORK: dict[str, Any] = {
    "channels": [32, 32], "layers": 1, "head_channels": 16, "cross_channels": 8, "time_channels": 4,
    "downscaling": FACTOR, "pose_channels": [4, 4, 8], "image_channels": 0, "window": T, "sampling_steps": 2,
    "guidance_reference": 1.0,
}  # fmt: skip
FACE: dict[str, Any] = {
    "identity_channels": FACES, "identity_tokens": 2, "expressions": list(LABELS), "audio_layers": 1,
    "audio_channels": 35, "audio_tokens": 2, "audio_width": 8,
}  # fmt: skip
KINDS: dict[str, Any] = {"pose_video": PoseVideoStage, "audio_video": AudioVideoStage}


def options(kind: str, **changed: Any) -> dict[str, Any]:
    """Of a small network."""
    return {**NETWORK, **(FACE if kind == "audio_video" else {}), **changed}


def stage(kind: str, autoencoder: Path | None, base: Path | None = None, **changed: Any) -> Any:
    """A stage in training mode, with weights that are nowhere zero, outside of any trainer."""
    torch.manual_seed(0)
    given = {"autoencoder": None if autoencoder is None else str(autoencoder), **options(kind, **changed)}
    if base is not None:
        given["base"] = str(base)
    made = KINDS[kind](**nested(KINDS[kind], **given))
    made.use_statistics(statistics())
    filled(made.network, std=0.3)
    made.logged = {}
    made.log = lambda name, value, **more: made.logged.__setitem__(name, float(torch.as_tensor(value).detach()))
    return made.train()


def base_of(folder: Path, autoencoder: Path, **changed: Any) -> Path:
    """A run of the first stage, as after some training."""
    stage("pose_video", autoencoder, **changed).network.save_pretrained(folder / "export")
    (folder / "config.yaml").write_text("stage: {name: versa.pose_video}")
    return folder


def faces_of(made: Any, labels: tuple[str | None, ...] = ("happy", None, "sad")) -> Batch:
    """Windows with faces, whose latents say that the stage's autoencoder made them.

    Every frame tells its number: in its latents, its speech, the middle of its face's embedding, its blink ratio. In
    frame 3 no face is seen.
    """
    given = of_its_own(made, batch())
    numbers = torch.arange(float(F))
    given.arrays["latents"]["mean"] = numbers.view(1, F, 1, 1, 1).expand_as(given.arrays["latents"]["mean"]).clone()
    given.arrays["latents"]["log_variance"].fill_(-60)
    given.speech = numbers.view(1, F, 1).expand(B, F, 35).clone()
    given.arrays["identity"] = {"embedding": (numbers + 1).view(1, F, 1).expand(B, F, FACES).half()}
    scores = torch.ones(B, F)
    scores[:, 3] = 0
    given.arrays["face"] = {"blink": (numbers / 20).expand(B, F) * (scores > 0), "scores": scores}
    given.infos = [
        ClipInfo(
            id=f"clip{n}", source="a.mp4", end=1, fps=25, frames=F, extra={} if label is None else {"expression": label}
        )
        for n, label in enumerate(labels)
    ]
    return given
