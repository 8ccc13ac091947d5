"""What animators of latent video share: autoencoder, speech, the picture's size, how is sampled, frames of latents."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import SAMPLE_RATE
from models.video.audio_projection import HANDCRAFTED
from models.video.latents import decode_pieces
from models.video.speech import speech_features
from preprocessing.videos.decode import SourceVideo
from pretrained.exports import Export, load_network
from pretrained.hashes import short
from settings import ConfigError, get_logger
from settings.device import device_of
from trainers.animation import frames
from trainers.animation.files import Animation
from trainers.animation.hearing import handcrafted, layers_wanted
from trainers.animation.request import check_fps, video_size
from trainers.stage.latents import Latents
from trainers.video.trained_size import trained_at

DRAFT_STEPS: Final = 6
PLAIN: Final = 512  # pixels of the longer side where neither run nor autoencoder says what it was trained at
logger = get_logger(__name__)


@dataclass(frozen=True)
class VideoAnimation(Animation):
    """A video of a picture.

    Attributes:
        pose_file: npz of the poses that it follows.
    """

    pose_file: Path

    @property
    def beside(self) -> list[Path]:
        """The poses."""
        return [self.pose_file]


class LatentAnimator:
    """A trained network that makes latents of frames, and what goes into it.

    Args:
        export: the trained network.
        fps: frames a second that were asked for; None takes the network's.
        device: where it runs; `auto` is a GPU where there is one.

    Attributes:
        kind: class of the network.

    Raises:
        ConfigError: another frame rate than the network was trained at.
    """

    kind: ClassVar[Any]

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export, self.device = export, device_of(device)
        self.network: Any = load_network(self.kind, export).to(self.device)
        self.fps = float(self.network.fps)
        check_fps(fps, self.fps, export.name)

    @property
    def hears(self) -> bool:
        """Whether it is driven by speech."""
        return True

    def latents(self, given: str | None) -> Latents:
        """The autoencoder: the one given, else the one of the run's config.

        Raises:
            ConfigError: there is none, or it is not the one whose latents the network knows.
        """
        where = given or self.export.settings.get("stage", {}).get("autoencoder")
        if where is None:
            raise ConfigError(
                f"{self.export.name} does not say which autoencoder it was trained on: give autoencoder=RUN (a run of "
                "video.autoencoder, a folder or a hub name)"
            )
        latents = Latents("autoencoder", where).to(self.device)
        known = self.network.autoencoder
        if known and latents.sha256 != known:
            raise ConfigError(
                f"autoencoder={where} is another network than the one whose latents {self.export.name} knows (its hash "
                f"begins with {short(latents.sha256)}, wanted is {short(known)})"
            )
        return latents

    def frames_of(self, audio: np.ndarray) -> int:
        """Frames that sound (N,) at 16 kHz lasts for, one at least."""
        return max(1, round(len(audio) / SAMPLE_RATE * self.fps))

    def length(self, poses: int, audio: np.ndarray | None) -> int:
        """Frames of poses and speech together: those of the shorter, which is said.

        Args:
            poses: how many there are.
            audio: the speech, (N,) at 16 kHz; None where there is none.
        """
        heard = poses if audio is None else self.frames_of(audio)
        if heard != poses:
            logger.warning(
                "the poses last %.2f s (%d frames), the speech %.2f s (%d frames); the video ends with the shorter",
                poses / self.fps, poses, heard / self.fps, heard,
            )  # fmt: skip
        return min(heard, poses)

    def listen(self, audio: np.ndarray, model: str | None) -> Tensor | None:
        """Speech features of frames (F, L, A) of sound (N,) at 16 kHz; None where the network hears nothing.

        Args:
            audio: the sound.
            model: folder or hub name of the speech network, for networks that listen to its layers.
        """
        if not self.hears:
            return None
        _, _, channels = self.network.audio_projection.shape
        hearing = layers_wanted(self.export, model, 0 if channels == HANDCRAFTED else channels, self.device.type)
        if hearing is None:
            return speech_features(handcrafted(audio, self.fps), None, self.frames_of(audio))
        return speech_features(None, hearing.layers(audio), self.frames_of(audio))

    def scaled(self, picture: np.ndarray, size: int | None, latents: Latents) -> np.ndarray:
        """The picture in its own shape, its longer side as asked for, or as the frames of the training were."""
        trained, _ = trained_at(self.export.settings.get("data", {}))
        longer = max(trained) if trained else latents.network.config.sample_size
        height, width = video_size(picture.shape[:2], size or longer or PLAIN)
        smaller = height < picture.shape[0]
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)

    def embedding(self, picture: np.ndarray, image_encoder: str | None) -> Tensor | None:
        """(1, A) what the image encoder makes of the picture; None where the network reads none."""
        if not self.network.image_channels:
            return None
        where = image_encoder or self.export.settings.get("stage", {}).get("image_encoder")
        if where is None:
            raise ConfigError(
                f"{self.export.name} reads an image encoder's embedding of the picture: give image_encoder=MODEL, the "
                "one that its shards were made with"
            )
        from pretrained.images import load_image_encoder

        encoder, _ = load_image_encoder("image_encoder", where)
        return encoder.to(self.device)(torch.from_numpy(picture).permute(2, 0, 1)[None].to(self.device))

    def how(self, options: Any) -> dict[str, Any]:
        """Steps and weights of guidance: those asked for, else by the quality, else the network's own.

        A draft takes few steps without guidance.
        """
        own: dict[str, Any] = {"steps": self.network.sampling_steps}
        own |= {f"guidance_{name}": weight for name, weight in self.network.guidance.items()}
        if options.quality == "draft":
            most = {name: DRAFT_STEPS if name == "steps" else 1.0 for name in own}
            own = {name: value if value is None else min(value, most[name]) for name, value in own.items()}
        asked = {name: getattr(options, name) for name in own}
        chosen = {name: own[name] if value is None else value for name, value in asked.items()}
        steps = chosen.pop("steps")
        return {"steps": steps, "guidance": {name.removeprefix("guidance_"): value for name, value in chosen.items()}}


@torch.no_grad()
def decoded(latents: Latents, pieces: Iterator[Tensor], size: tuple[int, int], batch: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of pieces of latents (1, C, n, h, w), not scaled, one after another."""
    in_time = (piece[0].transpose(0, 1) for piece in pieces)
    for part in decode_pieces(latents.network, in_time, size, batch):
        yield from (part * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


@contextmanager
def sound_beside(audio: Path | None, driving: Path | None, fps: float) -> Iterator[frames.Track | None]:
    """The sound that goes with a video: the speech, else that of the driving video, if it has any.

    Args:
        audio: the speech.
        driving: what drives the video.
        fps: frames a second of it.
    """
    if audio is not None:
        yield frames.sound_of(audio)
    elif driving is not None and driving.suffix.lower() != ".npz":
        with SourceVideo(driving, fps, 32) as video:
            yield None if video.sound is None else frames.Track(frames.pieces_of(video.sound), SAMPLE_RATE)
    else:
        yield None
