"""A trained video network of VersaAnimator as it is measured: a clip's first frame, and what drives it, to frames."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.diffusion.chaining import anchored_windows
from models.versa.video.conditions import UNKNOWN
from models.versa.video.generate import generate_latents
from models.video.latents import decode_pieces
from pretrained.exports import Export
from pretrained.faces import FaceNetwork, embeddings
from settings import ConfigError
from trainers.evaluation.talks import IMAGE, PICTURE, SPEECH, Talk, heard
from trainers.versa.identity import OFF, face_network_of, trained_with
from trainers.versa.system import Drive, VersaVideoFigureOptions
from trainers.versa.video_animation import VersaVideoAnimator
from trainers.versa.video_batch import EXPRESSION
from trainers.versa.video_source import picture_source
from trainers.video.trained_size import trained_at

IDENTITY, FACE = "identity.npz", "face.npz"


@dataclass(frozen=True)
class Driving:
    """What drives a video beside its picture; None leaves it out.

    Attributes:
        poses: (T, 134, 3).
        features: (F, L, A) of speech.
        expression: label.
        blink: (T,) height of the eyes over their width; -1 where unknown.
    """

    poses: np.ndarray | None = None
    features: np.ndarray | None = None
    expression: str | None = None
    blink: np.ndarray | None = None


class VersaVideoModel:
    """A network, its autoencoder and what it reads.

    Args:
        export: the network.
        options: of the measuring.
        name: what it is called in messages.
        drive: what drives it; None is what it was trained for.

    Attributes:
        face_network: that embeds the first frame's face; None where identity.npz of the shards has it, or nothing does.
        conditioned_by: SHA-256 of the network that says whose face it is; None where none does.

    Raises:
        ConfigError: its autoencoder or face network is not there, windows cannot be chained so, or it hears no speech
            that shall drive.
    """

    def __init__(self, export: Export, options: VersaVideoFigureOptions, name: str, drive: Drive | None = None):
        self.animator = VersaVideoAnimator(export, device=options.device)
        self.network, self.options, self.name = self.animator.network, options, name
        self.attends = self.network.face_attention
        self.drive: Drive = drive or ("both" if self.attends else "pose")
        if self.drive == "speech_only" and not self.attends:
            raise ConfigError(f"drive=speech_only: {name} ({export.stage}) hears no speech")
        self.latents = self.animator.latents(options.autoencoder)
        self.face_network, self.conditioned_by = self._faces(export)
        self.size, self.fit = trained_at(export.settings.get("data", {}), options.shards)
        try:
            self.seams(self.network.window + 1)
        except ValueError as error:
            raise ConfigError(f"overlap={options.overlap}: {error}") from None

    @property
    def listens(self) -> bool:
        """Whether speech goes into the network as it is driven."""
        return self.attends and self.drive != "pose"

    @property
    def looks(self) -> bool:
        """Whether it is told of expression and eyes."""
        return self.attends and self.drive == "both"

    @property
    def keys(self) -> tuple[str, ...]:
        """What of a clip it reads."""
        wanted = {
            SPEECH: self.listens or self.drive == "audio",
            IMAGE: bool(self.network.image_channels),
            (IDENTITY,): self.conditioned_by is not None and self.face_network is None,
            (FACE,): self.looks,
        }
        return (*PICTURE, *(key for keys, there in wanted.items() if there for key in keys))

    @property
    def identity_by(self) -> str | None:
        """What says whose face it is, in words."""
        if self.conditioned_by is None:
            return None
        return "identity.npz of the shards" if self.face_network is None else str(self.face_network.source)

    def hear(self, talk: Talk) -> np.ndarray:
        """Speech features of a clip's frames (F, L, A) as the network reads them.

        Raises:
            ConfigError: the shards hold others.
        """
        return heard(self.network, self.animator.export.settings, talk.speech, talk.frames, talk.info.id, self.name)

    def seams(self, frames: int) -> list[int]:
        """Frames of a video of so many at which a window takes over."""
        return [end for _, end in anchored_windows(frames, self.network.window, self.options.overlap)[:-1]]

    @torch.no_grad()
    def generate(self, first: Tensor, talk: Talk, driving: Driving, seed: int) -> Tensor:
        """As many frames as the clip has, (T, 3, H, W) in [0, 1].

        Args:
            first: (3, H, W) uint8, the reference: the clip's first frame.
            talk: the clip, for its length, and whose face its first frame shows.
            driving: what else the network is told.
            seed: of the noise.
        """
        options, network = self.options, self.network
        source = picture_source(
            network,
            self.latents,
            first.permute(1, 2, 0).numpy(),
            talk.frames,
            driving.poses,
            None if driving.features is None else torch.from_numpy(driving.features),
            None if talk.image is None else torch.from_numpy(talk.image)[None],
            self._identity(first, talk),
            self._label(driving.expression, talk),
            driving.blink,
        )
        given = {name: getattr(options, f"guidance_{name}") for name in network.guidance}
        pieces = generate_latents(
            network,
            source,
            steps=options.steps,
            guidance={name: weight for name, weight in given.items() if weight is not None},
            seed=seed,
            overlap=options.overlap,
        )
        in_time = (piece[0].transpose(0, 1) for piece in pieces)
        size = (first.shape[1], first.shape[2])
        return torch.cat([part.float().cpu() for part in decode_pieces(self.latents.network, in_time, size)])

    def _faces(self, export: Export) -> tuple[FaceNetwork | None, str | None]:
        """What embeds faces where the shards do not say whose they are, and what says it."""
        asked, known = self.options.identity, self.network.face_network
        if not self.attends or asked == OFF:
            return None, None
        held = trained_with({"shards": self.options.shards})
        if asked is None and held is not None and known in ("", held):
            return None, held
        network = face_network_of(export, self.network, asked)
        return network, network.sha256

    def _identity(self, first: Tensor, talk: Talk) -> Tensor | None:
        """Embedding (1, A) of the face in a clip's first frame; zeros where no whole face is seen."""
        if self.conditioned_by is None:
            return None
        if self.face_network is None:
            return torch.from_numpy(talk.more[IDENTITY]["embedding"][:1].astype(np.float32))
        frame = first.permute(1, 2, 0).contiguous().numpy()
        return torch.from_numpy(embeddings(self.face_network, frame[None], talk.pose[:1]))

    def _label(self, label: str | None, talk: Talk) -> np.ndarray | None:
        if label is None or not self.attends:
            return None
        try:
            return np.full(talk.frames, self.network.expression(label), np.int64)
        except ValueError as error:
            raise ConfigError(f"{talk.info.id} is labelled {EXPRESSION}={label}: {error}") from None


def shown_of(talk: Talk) -> tuple[str | None, np.ndarray]:
    """Label of a clip's expression, and blink ratios of its frames (T,), -1 where no face was found."""
    face: Any = talk.more[FACE]
    blink = np.where(face["scores"] > 0, face["blink"], UNKNOWN)[: talk.frames].astype(np.float32)
    return talk.info.extra.get(EXPRESSION), blink
