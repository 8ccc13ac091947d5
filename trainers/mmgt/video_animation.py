"""A picture and speech, or poses, to a video with MMGT's second stage (MMGT-1, MMGT-22)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import SAMPLE_RATE
from datamodules.media.picture import read_image
from models.mmgt.video import MMGTVideo
from models.mmgt.video_generate import generate_latents
from models.video.audio_projection import HANDCRAFTED
from models.video.latents import decode
from preprocessing.videos.decode import SourceVideo
from pretrained.exports import Export, load_network
from pretrained.hashes import short
from settings import ConfigError, get_logger
from settings.device import device_of
from trainers.animation import frames
from trainers.animation.driving import driving_poses, onto_person
from trainers.animation.files import Animation, write_poses
from trainers.animation.hearing import handcrafted, layers_wanted
from trainers.animation.request import (
    check_files,
    check_fps,
    detect_first_pose,
    hashes,
    listen,
    read_first_pose,
    video_size,
)
from trainers.mmgt.animation import SMGAAnimator
from trainers.mmgt.system import VideoOptions
from trainers.mmgt.trained_size import trained_at
from trainers.mmgt.video_source import picture_source, speech_of
from trainers.run.exports import find_export
from trainers.stage.latents import Latents

SMGA: Final = "mmgt.smga"
DRAFT: Final = {"steps": 6, "guidance_reference": 1.0, "guidance_pose": 1.0, "guidance_audio": 1.0}
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


class VideoAnimator:
    """Makes a picture speak and gesture with a trained `mmgt.video_pose` or `mmgt.video_audio`.

    Args:
        export: the trained network.
        fps: frames a second that were asked for; None takes the network's.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: another frame rate than the network was trained at.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export, self.device = export, device_of(device)
        self.network = load_network(MMGTVideo, export).to(self.device)
        self.fps = float(self.network.fps)
        self.hears = self.network.use_audio and export.stage == "mmgt.video_audio"
        check_fps(fps, self.fps, export.name)

    def animate(self, options: VideoOptions) -> VideoAnimation:
        """Generate and write what was asked for."""
        files = {"image": options.image, "audio": options.audio, "pose": options.pose, "driving": options.driving}
        check_files(files)
        if options.image is None:
            raise ConfigError("give image=PICTURE of the person")
        if options.audio is None and options.driving is None:
            raise ConfigError("give audio=FILE to speak to, or driving=FILE with poses to follow, or both")
        picture = read_image(options.image)
        person = detect_first_pose(picture, options.image) if options.pose is None else read_first_pose(options.pose)
        audio = None if options.audio is None else listen(options.audio)
        speech = None if audio is None else self.listen(audio, options.speech)
        poses = self._poses(options, audio, person, picture.shape[:2])
        total = len(poses) if audio is None else self._length(len(poses), audio)
        latents = self.latents(options.autoencoder)
        picture = self._scaled(picture, options.size, latents)
        source = picture_source(
            self.network, latents, picture, person, total, poses, speech, self._embedding(picture, options)
        )
        how = self._how(options)
        pieces = generate_latents(self.network, source, seed=options.seed, overlap=options.overlap, **how)
        settings = {"seed": options.seed, "quality": options.quality, "retarget": options.retarget, **how}
        # The video comes last: where it stands, the poses stand too.
        pose_file = write_poses(options.out.with_suffix(".npz"), poses[:total], picture.shape[:2], self.fps)
        with self._sound(options) as sound:
            output = decoded(latents, pieces, picture.shape[:2], options.decode_batch)
            result = frames.write(options.out, output, self.fps, sound, self.model, hashes(files), settings, total)
        return VideoAnimation(result.video, result.frames, result.fps, result.metadata, pose_file)

    @property
    def model(self) -> dict[str, str]:
        """Name, stage and hash of the network."""
        return {"name": self.export.name, "stage": self.export.stage, "sha256": self.export.sha256}

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

    def listen(self, audio: np.ndarray, model: str | None) -> Tensor | None:
        """Speech features of frames (F, L, A) of sound (N,) at 16 kHz; None where the network hears nothing.

        Args:
            audio: the sound.
            model: folder or hub name of the speech network, for networks that listen to its layers.
        """
        if not self.hears:
            return None
        _, _, channels = self.network.audio_projection.shape
        total = max(1, round(len(audio) / SAMPLE_RATE * self.fps))
        hearing = layers_wanted(self.export, model, 0 if channels == HANDCRAFTED else channels, self.device.type)
        if hearing is None:
            return speech_of(handcrafted(audio, self.fps), None, total)
        return speech_of(None, hearing.layers(audio), total)

    def _poses(
        self, options: VideoOptions, audio: np.ndarray | None, person: np.ndarray, picture: tuple[int, int]
    ) -> np.ndarray:
        """Poses (T, 134, 3) that are followed: the driving ones, else those that SMGA makes of the speech."""
        if options.driving is not None:
            if options.smga is not None:
                raise ConfigError("give driving=FILE with poses to follow or smga=RUN that makes them, not both")
            poses, size = driving_poses(options.driving, self.fps)
            return onto_person(poses, size, person, picture) if options.retarget else poses
        if options.smga is None:
            raise ConfigError(
                "give smga=RUN, a network of mmgt.smga that makes poses of the speech, or driving=FILE with poses"
            )
        export = find_export(options.smga)
        if export.stage != SMGA:
            raise ConfigError(f"smga={options.smga} is a network of {export.stage}; one of {SMGA} is needed")
        smga = SMGAAnimator(export, device=self.device.type)
        if abs(smga.fps - self.fps) > 1e-3:
            raise ConfigError(
                f"smga={options.smga} makes poses at {smga.fps:g} frames a second, {self.export.name} was trained at "
                f"{self.fps:g}"
            )
        assert audio is not None
        layers = layers_wanted(export, options.speech, smga.layer_channels, self.device.type)
        return smga.poses([person], [smga.listen(audio, layers)], seed=options.seed, shown=True)[0]

    def _length(self, poses: int, audio: np.ndarray) -> int:
        """Frames of poses and speech together: those of the shorter, which is said."""
        heard = max(1, round(len(audio) / SAMPLE_RATE * self.fps))
        if heard != poses:
            logger.warning(
                "the poses last %.2f s (%d frames), the speech %.2f s (%d frames); the video ends with the shorter",
                poses / self.fps, poses, heard / self.fps, heard,
            )  # fmt: skip
        return min(heard, poses)

    def _scaled(self, picture: np.ndarray, size: int | None, latents: Latents) -> np.ndarray:
        """The picture in its own shape, its longer side as asked for, or as the frames of the training were."""
        trained, _ = trained_at(self.export.settings.get("data", {}))
        longer = max(trained) if trained else latents.network.config.sample_size
        height, width = video_size(picture.shape[:2], size or longer or PLAIN)
        smaller = height < picture.shape[0]
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)

    def _embedding(self, picture: np.ndarray, options: VideoOptions) -> Tensor | None:
        """(1, A) what the image encoder makes of the picture; None where the network reads none."""
        if not self.network.image_channels:
            return None
        where = options.image_encoder or self.export.settings.get("stage", {}).get("image_encoder")
        if where is None:
            raise ConfigError(
                f"{self.export.name} reads an image encoder's embedding of the picture: give image_encoder=MODEL, the "
                "one that its shards were made with"
            )
        from pretrained.images import load_image_encoder

        encoder, _ = load_image_encoder("image_encoder", where)
        return encoder.to(self.device)(torch.from_numpy(picture).permute(2, 0, 1)[None].to(self.device))

    def _how(self, options: VideoOptions) -> dict[str, Any]:
        """Steps and weights of guidance: those asked for, else by the quality, else the network's own."""
        own: dict[str, Any] = {"steps": self.network.sampling_steps}
        own |= {f"guidance_{name}": weight for name, weight in self.network.guidance.items()}
        if options.quality == "draft":
            own = {name: min(value, DRAFT[name]) for name, value in own.items()}
        asked = {name: getattr(options, name) for name in own}
        chosen = {name: own[name] if value is None else value for name, value in asked.items()}
        steps = chosen.pop("steps")
        return {"steps": steps, "guidance": {name.removeprefix("guidance_"): value for name, value in chosen.items()}}

    @contextmanager
    def _sound(self, options: VideoOptions) -> Iterator[frames.Track | None]:
        """The sound that goes with the video: the speech, else that of the driving video, if it has any."""
        if options.audio is not None:
            yield frames.sound_of(options.audio)
        elif options.driving is not None and options.driving.suffix.lower() != ".npz":
            with SourceVideo(options.driving, self.fps, 32) as video:
                yield None if video.sound is None else frames.Track(frames.pieces_of(video.sound), SAMPLE_RATE)
        else:
            yield None


@torch.no_grad()
def decoded(latents: Latents, pieces: Iterator[Tensor], size: tuple[int, int], batch: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of pieces of latents (1, C, n, h, w), not scaled, one after another."""
    for piece in pieces:
        for part in piece[0].transpose(0, 1).split(batch):
            pixels = (decode(latents.network, part, size) * 255).round().to(torch.uint8)
            yield from pixels.permute(0, 2, 3, 1).cpu().numpy()
