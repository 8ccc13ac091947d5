"""A trained UniVDM as it is measured: a clip's first frame and speech in, latents and frames out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.paha.generate import UniVDMSource, generate_latents, segments
from models.paha.regions import face_box
from models.video.latents import decode
from pretrained.exports import Export
from settings import ConfigError
from trainers.evaluation.talks import IMAGE, PICTURE, SPEECH, Talk, heard
from trainers.paha.animation import UniVDMAnimator, judged
from trainers.paha.evaluation.cost import Cost, counted, now, whole
from trainers.paha.system import Guide, UniVDMFigureOptions
from trainers.video.guidance import Judges
from trainers.video.trained_size import trained_at


@dataclass(frozen=True)
class Made:
    """A video that was made.

    Attributes:
        frames: (T, 3, H, W) in [0, 1].
        latents: (1, C, T, h, w), scaled.
        cost: of a segment, by the names of `trainers.paha.evaluation.cost.FIGURES`.
    """

    frames: Tensor
    latents: Tensor
    cost: dict[str, float]


class UniVDMModel:
    """A network, its autoencoder and what it reads.

    Args:
        export: the network.
        options: of the measuring.
        name: what it is called in messages.

    Raises:
        ConfigError: its autoencoder is not there.
    """

    def __init__(self, export: Export, options: UniVDMFigureOptions, name: str):
        self.animator = UniVDMAnimator(export, device=options.device)
        self.network, self.options, self.name = self.animator.network, options, name
        self.latents = self.animator.latents(options.autoencoder)
        self.size, self.fit = trained_at(export.settings.get("data", {}), options.shards)

    @cached_property
    def judges(self) -> Judges:
        """The classifiers that guide it."""
        return Judges(self.options, self.network)

    @property
    def keys(self) -> tuple[str, ...]:
        """What of a clip it reads."""
        return (*PICTURE, *SPEECH, *(IMAGE if self.network.image_channels else ()))

    def hear(self, talk: Talk) -> np.ndarray:
        """Speech features of a clip's frames (F, L, A) as the network reads them.

        Raises:
            ConfigError: the shards hold others.
        """
        settings = self.animator.export.settings
        return heard(self.network, settings, talk.speech, talk.frames, talk.info.id, self.name)

    def seams(self, frames: int) -> list[int]:
        """Frames of a video of so many at which a segment takes over: the first ones that it made itself."""
        return [begin + 1 for begin, _ in segments(frames, self.network.window)[1:]]

    def source(self, first: Tensor, talk: Talk, features: np.ndarray) -> UniVDMSource:
        """What a video is made from.

        Args:
            first: (3, H, W) uint8, the clip's first frame.
            talk: the clip, for its length and the embedding of its first frame.
            features: (F, L, A) of speech.
        """
        return self.animator.source(
            first.permute(1, 2, 0).numpy(),
            torch.from_numpy(features),
            self.latents,
            talk.frames,
            self.options.first_frame,
            image=None if talk.image is None else torch.from_numpy(talk.image)[None],
        )

    def face(self, talk: Talk, source: UniVDMSource) -> Tensor:
        """(1, 4) the box of the face in a clip's first frame, or where it is not seen there, in all of the clip.

        Raises:
            ConfigError: no face is seen.
        """
        rows, columns = source.reference.shape[-2:]
        covered = (rows * self.network.downscaling, columns * self.network.downscaling)
        height, width = self.size or (talk.info.height, talk.info.width)
        for pose in (talk.pose[:1], talk.pose):
            try:
                box = face_box(torch.from_numpy(pose).float(), height, width, covered)
            except ValueError:
                continue
            return box[None].to(self.animator.device)
        raise ConfigError(
            f"{talk.info.id}: no face is seen in it, and classifiers have to know where the face is; leave such clips "
            "out, or measure without classifiers"
        )

    def generate(
        self, source: UniVDMSource, size: tuple[int, int], seed: int, guide: Guide, box: Tensor | None
    ) -> Made:
        """A video, segment by segment.

        Args:
            source: what it is made from.
            size: height and width of its frames.
            seed: of the noise.
            guide: kind of guidance.
            box: (1, 4) of the face, for guidance.
        """
        options, network, device = self.options, self.network, self.animator.device
        asked: dict[str, Any] = {name: getattr(options, f"guidance_{name}") for name in network.guidance}
        sampling = None
        if guide != "none":
            assert box is not None
            sampling = self.judges.sampling(judged(source), box, guide)
        pieces = generate_latents(
            network,
            source,
            steps=options.steps,
            guidance={name: weight for name, weight in asked.items() if weight is not None},
            seed=seed,
            sampling=sampling,
        )
        latents, frames, costs, spans = [], [], [], segments(source.frames, network.window)
        with counted(network, self.judges.classifiers.values() if guide != "none" else ()) as counts:
            for _ in spans:
                before, start = (counts.evaluations, counts.gradients), now(device)
                try:
                    piece = next(pieces)
                except ValueError as error:  # of guidance: a gradient that is not finite
                    raise ConfigError(f"{self.name} could not be guided: {error}") from None
                sampled = now(device)
                with torch.no_grad():
                    frames.append(decode(self.latents.network, piece[0].transpose(0, 1), size).float().cpu())
                latents.append(piece)
                costs.append(
                    Cost(
                        now(device) - start,
                        sampled - start,
                        counts.evaluations - before[0],
                        counts.gradients - before[1],
                    )
                )
        return Made(torch.cat(frames), torch.cat(latents, 2) * network.latent_scale, whole(costs, spans))

    @torch.no_grad()
    def encoded(self, frames: Tensor) -> Tensor:
        """The most likely latents (1, C, T, h, w), scaled, of true frames (T, 3, H, W) uint8."""
        parts = frames.split(self.options.batch)
        latents = torch.cat([self.latents.of_pictures(part.to(self.animator.device)) for part in parts])
        return latents.transpose(0, 1)[None]
