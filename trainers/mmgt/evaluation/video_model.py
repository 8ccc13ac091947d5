"""A trained network of MMGT's second stage as it is measured: a clip's first frame, poses and speech in, frames out."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.diffusion.chaining import seams
from models.mmgt.video_generate import generate_latents
from models.video.latents import decode
from pretrained.exports import Export
from settings import ConfigError
from trainers.evaluation.talks import IMAGE, PICTURE, SPEECH, Talk, heard
from trainers.mmgt.system import VideoFigureOptions
from trainers.mmgt.video_animation import VideoAnimator
from trainers.mmgt.video_source import picture_source
from trainers.video.trained_size import trained_at

Drive = Literal["both", "pose", "audio", "speech_only"]


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
        return heard(self.network, self.animator.export.settings, talk.speech, talk.frames, talk.info.id, self.name)

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
