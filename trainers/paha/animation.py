"""A picture and speech to a video with UniVDM (PAHA): segments that go on from their last frame (PH-2)."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.media.picture import read_image
from models.paha.generate import UniVDMSource, generate_latents
from models.paha.regions import face_box
from models.paha.univdm import UniVDM
from models.video.speech import audio_windows
from settings import ConfigError
from trainers.animation import frames
from trainers.animation.files import Animation
from trainers.animation.request import check_files, detect_first_pose, hashes, listen, read_first_pose
from trainers.paha.system import UniVDMOptions
from trainers.stage.latents import Latents
from trainers.video.animator import LatentAnimator, decoded
from trainers.video.guidance import Judged, judges_of


def judged(source: UniVDMSource) -> Judged:
    """What classifiers are told of a video that is made from a source with speech."""
    assert source.speech is not None
    return Judged(source.reference, source.image, source.speech)


class UniVDMAnimator(LatentAnimator):
    """Makes a picture speak and gesture with a trained `paha.univdm`."""

    kind: ClassVar = UniVDM

    def animate(self, options: UniVDMOptions) -> Animation:
        """Generate and write what was asked for."""
        files = {"image": options.image, "audio": options.audio, "pose": options.pose}
        check_files(files)
        if options.image is None or options.audio is None:
            raise ConfigError("give image=PICTURE of the person and audio=FILE with the speech")
        judges = judges_of(options, self.network)
        picture, audio = read_image(options.image), listen(options.audio)
        speech, latents = self.listen(audio, options.speech), self.latents(options.autoencoder)
        assert speech is not None  # this network hears
        picture = self.scaled(picture, options.size, latents)
        total = self.frames_of(audio)
        source = self.source(picture, speech, latents, total, options.first_frame, options.image_encoder)
        how, sampling = self.how(options), None
        if judges is not None:
            sampling = judges.sampling(judged(source), self._face(options, picture, source), options.guide)
        pieces = generate_latents(self.network, source, seed=options.seed, sampling=sampling, **how)
        settings = {"seed": options.seed, "quality": options.quality, "first_frame": options.first_frame, **how}
        settings |= {"guide": options.guide}
        output = decoded(latents, pieces, picture.shape[:2], options.decode_batch)
        sound = frames.sound_of(options.audio)
        return frames.write(options.out, output, self.fps, sound, self.export.about, hashes(files), settings, total)

    def source(
        self,
        picture: np.ndarray,
        speech: Tensor | None,
        latents: Latents,
        total: int,
        first_frame: str = "picture",
        image_encoder: str | None = None,
        image: Tensor | None = None,
    ) -> UniVDMSource:
        """What a video is made from.

        Args:
            picture: (H, W, 3) uint8 RGB, of the size that the video shall have.
            speech: (F, L, A) features of frames; None leaves speech out.
            latents: of the network's autoencoder.
            total: frames of the video.
            first_frame: "picture" or "any".
            image_encoder: that reads the picture, for networks that want it; left out, as the run says.
            image: (1, A) what it has made of the picture, where that is known.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].to(self.device)
        reference = latents.of_pictures(pixels)
        image = self.embedding(picture, image_encoder) if image is None else image.to(self.device)

        def heard(begin: int, end: int) -> Tensor:
            assert speech is not None
            windows = audio_windows(speech[None], begin, end - begin, self.network.audio_context)
            return windows.float().to(self.device)

        return UniVDMSource(
            frames=total,
            reference=reference,
            speech=None if speech is None else heard,
            image=None if image is None else image[None],
            first=reference if first_frame == "picture" else None,
        )

    def _face(self, options: UniVDMOptions, picture: np.ndarray, source: UniVDMSource) -> Tensor:
        """(1, 4) the box of the face in the picture."""
        assert options.image is not None
        given = options.pose
        person = (
            detect_first_pose(read_image(options.image), options.image) if given is None else read_first_pose(given)
        )
        rows, columns = source.reference.shape[-2:]
        covered = (rows * self.network.downscaling, columns * self.network.downscaling)
        box = face_box(torch.from_numpy(person)[None].float(), picture.shape[0], picture.shape[1], covered)
        return box[None].to(self.device)
