"""A picture and speech to a video with UniVDM (PAHA): segments that go on from their last frame (PH-2)."""

import numpy as np
import torch
from torch import Tensor

from datamodules.media.picture import read_image
from models.paha.generate import UniVDMSource, generate_latents
from models.paha.univdm import UniVDM
from models.video.speech import audio_windows
from pretrained.exports import Export
from settings import ConfigError
from trainers.animation import frames
from trainers.animation.files import Animation
from trainers.animation.request import check_files, hashes, listen
from trainers.paha.system import UniVDMOptions
from trainers.stage.latents import Latents
from trainers.video.animator import LatentAnimator, decoded


class UniVDMAnimator(LatentAnimator):
    """Makes a picture speak and gesture with a trained `paha.univdm`.

    Args:
        export: the trained network.
        fps: frames a second that were asked for; None takes the network's.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: another frame rate than the network was trained at.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        super().__init__(UniVDM, export, fps, device)

    def animate(self, options: UniVDMOptions) -> Animation:
        """Generate and write what was asked for."""
        files = {"image": options.image, "audio": options.audio}
        check_files(files)
        if options.image is None or options.audio is None:
            raise ConfigError("give image=PICTURE of the person and audio=FILE with the speech")
        picture, audio = read_image(options.image), listen(options.audio)
        speech, latents = self.listen(audio, options.speech), self.latents(options.autoencoder)
        assert speech is not None  # this network hears
        picture = self.scaled(picture, options.size, latents)
        total = self.frames_of(audio)
        source = self._source(options, picture, speech, latents, total)
        how = self.how(options)
        pieces = generate_latents(self.network, source, seed=options.seed, **how)
        settings = {"seed": options.seed, "quality": options.quality, "first_frame": options.first_frame, **how}
        output = decoded(latents, pieces, picture.shape[:2], options.decode_batch)
        sound = frames.sound_of(options.audio)
        return frames.write(options.out, output, self.fps, sound, self.model, hashes(files), settings, total)

    def _source(
        self, options: UniVDMOptions, picture: np.ndarray, speech: Tensor, latents: Latents, total: int
    ) -> UniVDMSource:
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].to(self.device)
        reference, image = latents.of_pictures(pixels), self.embedding(picture, options.image_encoder)

        def heard(begin: int, end: int) -> Tensor:
            windows = audio_windows(speech[None], begin, end - begin, self.network.audio_context)
            return windows.float().to(self.device)

        return UniVDMSource(
            frames=total,
            reference=reference,
            speech=heard,
            image=None if image is None else image[None],
            first=reference if options.first_frame == "picture" else None,
        )
