"""A trained network of MMGT's second stage as it is measured: a clip's first frame, poses and speech in, frames out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.media.fitting import Fit, FitMode
from models.diffusion.chaining import seams
from models.mmgt.video_generate import generate_latents
from models.video.audio_projection import HANDCRAFTED
from models.video.latents import decode
from models.video.speech import speech_features
from pretrained.exports import Export
from settings import ConfigError
from trainers.animation.hearing import layer_numbers
from trainers.evaluation.clips import joined
from trainers.mmgt.system import VideoFigureOptions
from trainers.mmgt.video_animation import VideoAnimator
from trainers.mmgt.video_source import picture_source
from trainers.video.trained_size import trained_at

Drive = Literal["both", "pose", "audio", "speech_only"]
PICTURE: Final = ("video.mp4", "pose.npz")
IMAGE: Final = ("image.npz",)
SPEECH: Final = ("speech.npz", "audio.flac")


@dataclass(frozen=True)
class Talk:
    """What of a clip, or its first seconds, is there beside its frames.

    Attributes:
        info: its clip.json.
        pose: (T, 134, 3) true pose, as fractions of the fitted frame.
        speech: its speech.npz, cut alike; empty where it has none.
        sound: (N,) at 16 kHz; None where it has none.
        image: (A,) the image encoder's embedding of the first frame; None where it has none.
    """

    info: ClipInfo
    pose: np.ndarray
    speech: Mapping[str, np.ndarray]
    sound: np.ndarray | None
    image: np.ndarray | None

    @property
    def frames(self) -> int:
        """T."""
        return len(self.pose)


def load_talks(
    shards: str,
    ids: list[str],
    seconds: float | None,
    size: tuple[int, int] | None,
    how: FitMode,
    keys: Sequence[str] = (),
) -> list[Talk]:
    """The clips with these ids, without their frames.

    Args:
        shards: folder or URL.
        ids: of the clips.
        seconds: only the first seconds of each; None is all.
        size, how: how frames are fitted, as in `trainers.evaluation.videos.read_shots`; poses go with them.
        keys: to read beside pose.npz: those of `SPEECH`, `IMAGE`.
    """
    talks = []
    for info, values in read_clips(shards, ("pose.npz", *keys), where={"id": ids}):
        frames = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        fit = Fit.of(info.height, info.width, size or (info.height, info.width), how)
        speech = dict(values.get("speech.npz", {}))
        if "handcrafted" in speech:
            speech["handcrafted"] = speech["handcrafted"][:frames]
        if "layers" in speech:
            speech["layers"] = speech["layers"][:, : round(frames / info.fps * 50)]
        sound = values.get("audio.flac")
        sound = None if sound is None else sound[: round(frames / info.fps * 16_000)]
        image = values["image.npz"]["tokens"][0].astype(np.float32) if "image.npz" in values else None
        talks.append(Talk(info, fit.moved(joined(values["pose.npz"])[:frames]), speech, sound, image))
    return talks


class VideoModel:
    """A network, its autoencoder and what it reads.

    Args:
        export: the network.
        options: of the measuring.
        name: what it is called in messages.
        drive: what drives it; None is what it was trained for.

    Raises:
        ConfigError: it cannot be driven like that, or its autoencoder is not there.
    """

    def __init__(self, export: Export, options: VideoFigureOptions, name: str, drive: Drive | None = None):
        self.animator = VideoAnimator(export, device=options.device)
        self.network, self.options, self.name = self.animator.network, options, name
        self.hears = self.animator.hears
        self.drive: Drive = drive or ("both" if self.hears else "pose")
        if self.drive == "speech_only" and not self.hears:
            raise ConfigError(f"drive=speech_only: {name} ({export.stage}) hears no speech")
        self.latents = self.animator.latents(options.autoencoder)
        self.size, self.fit = trained_at(export.settings.get("data", {}), options.shards)

    @property
    def listens(self) -> bool:
        """Whether speech goes into the network as it is driven."""
        return self.hears and self.drive != "pose"

    @property
    def keys(self) -> tuple[str, ...]:
        """What of a clip it reads."""
        return (*PICTURE, *(SPEECH if self.listens or self.drive == "audio" else ()), *(IMAGE if self.reads else ()))

    @property
    def reads(self) -> bool:
        """Whether an image encoder's embedding goes in."""
        return bool(self.network.image_channels)

    def hear(self, talk: Talk) -> np.ndarray:
        """Speech features of a clip's frames (F, L, A) as the network reads them.

        Raises:
            ConfigError: the shards hold others.
        """
        _, layers, channels = self.network.audio_projection.shape
        if channels == HANDCRAFTED:
            return speech_features(talk.speech["handcrafted"], None, talk.frames).numpy()
        stored = talk.speech["layer_ids"].tolist() if "layers" in talk.speech else []
        wanted = layer_numbers(self.animator.export.settings) or stored
        there = (len(wanted), talk.speech["layers"].shape[-1]) if stored and set(wanted) <= set(stored) else None
        if there != (layers, channels):
            raise ConfigError(
                f"{talk.info.id} holds {f'layers {stored}' if stored else 'no layers'} of a speech network; "
                f"{self.name} listens to {layers} layers of {channels}: give data=SHARDS that hold them"
            )
        picked = talk.speech["layers"][[stored.index(number) for number in wanted]]
        return speech_features(None, picked.astype(np.float32), talk.frames).numpy()

    def seams(self, frames: int) -> list[int]:
        """Frames of a video of so many at which a window takes over."""
        return seams(frames, self.network.window, self.options.overlap)

    @torch.no_grad()
    def generate(
        self, first: Tensor, talk: Talk, poses: np.ndarray | None, features: np.ndarray | None, seed: int
    ) -> Tensor:
        """As many frames as the clip has, (T, 3, H, W) in [0, 1].

        Args:
            first: (3, H, W) uint8, the reference: the clip's first frame.
            talk: the clip, for what the reference shows and for its length.
            poses: (T, 134, 3); None holds the masks of the reference.
            features: (F, L, A) of speech; None is none.
            seed: of the noise.
        """
        options = self.options
        source = picture_source(
            self.network,
            self.latents,
            first.permute(1, 2, 0).numpy(),
            talk.pose[0],
            talk.frames,
            poses,
            None if features is None else torch.from_numpy(features),
            None if talk.image is None else torch.from_numpy(talk.image)[None],
        )
        given = {name: getattr(options, f"guidance_{name}") for name in self.network.guidance}
        pieces = generate_latents(
            self.network,
            source,
            steps=options.steps,
            guidance={name: weight for name, weight in given.items() if weight is not None},
            seed=seed,
            overlap=options.overlap,
        )
        size = (first.shape[1], first.shape[2])
        return torch.cat([decode(self.latents.network, piece[0].transpose(0, 1), size).cpu() for piece in pieces])

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """What the autoencoder alone makes of true frames (T, 3, H, W) uint8: the most that its latents can show."""
        size = (frames.shape[2], frames.shape[3])
        parts = frames.split(self.options.batch)
        return torch.cat(
            [
                self.latents.decode(self.latents.of_pictures(part.to(self.animator.device)), size).float().cpu()
                for part in parts
            ]
        )
