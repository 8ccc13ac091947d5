"""A picture and speech, or poses, to a video with MMGT's second stage (MMGT-1, MMGT-22)."""

from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.media.picture import read_image
from models.diffusion.guiders.regional import Sampling
from models.mmgt.video import MMGTVideo
from models.mmgt.video_generate import VideoSource, generate_latents
from models.paha.regions import face_box
from models.video.speech import audio_windows
from settings import ConfigError
from trainers.animation import frames
from trainers.animation.driving import driving_poses
from trainers.animation.files import write_poses
from trainers.animation.fitting import onto_person, say
from trainers.animation.hearing import layers_wanted
from trainers.animation.request import (
    check_files,
    detect_first_pose,
    hashes,
    listen,
    read_first_pose,
)
from trainers.mmgt.animation import SMGAAnimator
from trainers.mmgt.system import VideoOptions
from trainers.mmgt.video_source import picture_source
from trainers.run.exports import find_export
from trainers.video.animator import LatentAnimator, VideoAnimation, decoded, sound_beside
from trainers.video.guidance import Judged, Judges, judges_of

SMGA: Final = "mmgt.smga"


class VideoAnimator(LatentAnimator):
    """Makes a picture speak and gesture with a trained `mmgt.video_pose` or `mmgt.video_audio`."""

    kind: ClassVar = MMGTVideo

    @property
    def hears(self) -> bool:
        """Whether it is driven by speech."""
        return self.network.use_audio and self.export.stage == "mmgt.video_audio"

    def animate(self, options: VideoOptions) -> VideoAnimation:
        """Generate and write what was asked for."""
        files = {"image": options.image, "audio": options.audio, "pose": options.pose, "driving": options.driving}
        check_files(files)
        if options.image is None:
            raise ConfigError("give image=PICTURE of the person")
        if options.audio is None and options.driving is None:
            raise ConfigError("give audio=FILE to speak to, or driving=FILE with poses to follow, or both")
        if options.guide != "none" and options.audio is None:
            raise ConfigError(f"guide={options.guide}: classifiers judge picture and speech: give audio=FILE")
        if options.guide != "none" and not self.hears:
            raise ConfigError(f"guide={options.guide}: {self.export.name} hears no speech, which classifiers judge")
        judges = judges_of(options, self.network)
        picture = read_image(options.image)
        person = detect_first_pose(picture, options.image) if options.pose is None else read_first_pose(options.pose)
        audio = None if options.audio is None else listen(options.audio)
        speech = None if audio is None else self.listen(audio, options.speech)
        poses = self._poses(options, audio, person, picture.shape[:2])
        total = self.length(len(poses), audio)
        latents = self.latents(options.autoencoder)
        picture = self.scaled(picture, options.size, latents)
        source = picture_source(
            self.network, latents, picture, person, total, poses, speech, self.embedding(picture, options.image_encoder)
        )
        how, sampling = self.how(options), None
        if judges is not None and speech is not None:
            sampling = self._guided(judges, options, source, speech, poses, person, picture.shape[:2])
        pieces = generate_latents(
            self.network, source, seed=options.seed, overlap=options.overlap, sampling=sampling, **how
        )
        settings = {"seed": options.seed, "quality": options.quality, "retarget": options.retarget, **how}
        settings |= {"guide": options.guide}
        # The video comes last: where it stands, the poses stand too.
        pose_file = write_poses(options.out.with_suffix(".npz"), poses[:total], picture.shape[:2], self.fps)
        with sound_beside(options.audio, options.driving, self.fps) as sound:
            output = decoded(latents, pieces, picture.shape[:2], options.decode_batch)
            result = frames.write(
                options.out, output, self.fps, sound, self.export.about, hashes(files), settings, total
            )
        return VideoAnimation(result.video, result.frames, result.fps, result.metadata, pose_file)

    def _poses(
        self, options: VideoOptions, audio: np.ndarray | None, person: np.ndarray, picture: tuple[int, int]
    ) -> np.ndarray:
        """Poses (T, 134, 3) that are followed: the driving ones, else those that SMGA makes of the speech."""
        if options.driving is not None:
            if options.smga is not None:
                raise ConfigError("give driving=FILE with poses to follow or smga=RUN that makes them, not both")
            poses, size = driving_poses(options.driving, self.fps)
            if not options.retarget:
                return poses
            fitted = onto_person(poses, size, person, picture)
            say(fitted.how)
            return fitted.poses
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

    def _guided(
        self,
        judges: Judges,
        options: VideoOptions,
        source: VideoSource,
        speech: Tensor,
        poses: np.ndarray,
        person: np.ndarray,
        size: tuple[int, int],
    ) -> Sampling | None:
        """Guidance by classifiers (PH-15 .. PH-18): what is corrected follows the poses."""
        rows, columns = source.reference.shape[-2:]
        covered = (rows * self.network.downscaling, columns * self.network.downscaling)

        def box(some: np.ndarray) -> Tensor:
            return face_box(torch.from_numpy(some.astype(np.float32)), size[0], size[1], covered).to(self.device)

        def face(pose: np.ndarray) -> Tensor:
            try:
                return box(pose[None])
            except ValueError:  # it is turned away
                return box(person[None])

        def faces(begin: int, end: int) -> Tensor:
            return torch.stack([face(pose) for pose in poses[begin:end]])[None]

        def heard(begin: int, end: int) -> Tensor:
            windows = audio_windows(speech[None], begin, end - begin, self.network.audio_context)
            return windows.float().to(self.device)

        judged = Judged(source.reference, source.image, heard)
        return judges.sampling(judged, box(np.concatenate([person[None], poses]))[None], options.guide, faces)
