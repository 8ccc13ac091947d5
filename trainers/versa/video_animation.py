"""A picture, speech, text and poses to a video with VersaAnimator's video half (VA-11 .. VA-16)."""

from typing import Any, ClassVar, Final

import numpy as np
from torch import Tensor

from datamodules.media.files import SAMPLE_RATE
from datamodules.media.picture import read_image
from models.diffusion.chaining import anchored_windows
from models.versa.token2pose import FPS
from models.versa.video.generate import generate_latents
from models.versa.video.network import VersaVideo
from models.video.audio_projection import HANDCRAFTED
from settings import ConfigError
from trainers.animation import frames
from trainers.animation.driving import at_rate, driving_poses
from trainers.animation.files import write_poses
from trainers.animation.fitting import Fitted, onto_person, say
from trainers.animation.request import check_files, detect_first_pose, hashes, listen, read_first_pose
from trainers.run.exports import find_export
from trainers.versa.body import BodyMotion
from trainers.versa.dials import blinks, check_spans, expressions
from trainers.versa.identity import OFF, face_network_of, identity_of
from trainers.versa.system import VersaVideoOptions
from trainers.versa.timed_text import read_texts
from trainers.versa.video_source import picture_source
from trainers.video.animator import LatentAnimator, VideoAnimation, decoded, sound_beside

MOTION: Final = ("versa.audio_motion", "versa.text_motion")
OF_FACE: Final = ("identity", "expression", "blink")
"""Options that attention to the face alone reads, beside weights of guidance."""


class VersaVideoAnimator(LatentAnimator):
    """Makes a picture speak and act with a trained `versa.pose_video` or `versa.audio_video`."""

    kind: ClassVar = VersaVideo

    @property
    def hears(self) -> bool:
        """Whether it is driven by speech."""
        return self.network.face_attention

    def animate(self, options: VersaVideoOptions) -> VideoAnimation:
        """Generate and write what was asked for."""
        files = {"image": options.image, "audio": options.audio, "pose": options.pose, "driving": options.driving}
        check_files(files)
        self._check(options)
        body = None if options.motion is None else self._body(options)
        if options.speech is not None and not self._layers and not (body is not None and body.listens_to_layers):
            raise ConfigError(
                f"speech={options.speech}: nothing here listens to layers of a speech network; leave it out"
            )
        assert options.image is not None
        whole = read_image(options.image)
        if options.pose is not None:
            person = read_first_pose(options.pose, face=False)
        else:
            person = detect_first_pose(whole, options.image)
        identity, whose = self._identity(options, whole, person)
        audio = None if options.audio is None else listen(options.audio)
        speech = None if audio is None else self.listen(audio, options.speech if self._layers else None)
        latents = self.latents(options.autoencoder)
        driving = None if options.driving is None else driving_poses(options.driving, self.fps)
        if driving is None:
            assert body is not None
            fitted = self._poses(options, body, audio, person, whole.shape[:2])
        elif options.retarget:
            fitted = onto_person(*driving, person, whole.shape[:2])
        else:
            fitted = Fitted(driving[0])
        say(fitted.how)
        poses, total = fitted.poses, self.length(len(fitted.poses), audio)
        self._check_windows(total, options.overlap)
        expression = expressions(self.network, options.expression, total, self.fps)
        blink = blinks(options.blink, total, self.fps, driving)
        picture = self.scaled(whole, options.size, latents)
        source = picture_source(
            self.network, latents, picture, total, poses, speech, self.embedding(picture, options.image_encoder),
            identity, expression, blink, options.motion_bucket,
        )  # fmt: skip
        how = self.how(options)
        pieces = generate_latents(self.network, source, seed=options.seed, overlap=options.overlap, **how)
        said = self._said(options) | how | {"identity": whose, "fitted": fitted.how}
        said |= {"networks": {} if body is None else body.networks}
        # The video comes last: where it stands, the poses stand too.
        pose_file = write_poses(options.out.with_suffix(".npz"), poses[:total], picture.shape[:2], self.fps)
        with sound_beside(options.audio, options.driving, self.fps) as sound:
            output = decoded(latents, pieces, picture.shape[:2], options.decode_batch)
            result = frames.write(options.out, output, self.fps, sound, self.export.about, hashes(files), said, total)
        return VideoAnimation(result.video, result.frames, result.fps, result.metadata, pose_file)

    @property
    def _layers(self) -> bool:
        """Whether it listens to layers of a speech network."""
        return self.hears and self.network.audio_projection.shape[2] != HANDCRAFTED

    def _check(self, options: VersaVideoOptions) -> None:
        """Whether what was asked for goes together, before anything is read."""
        if options.image is None:
            raise ConfigError("give image=PICTURE of the person")
        if options.driving is not None and (options.motion is not None or options.text is not None):
            raise ConfigError("give driving=FILE with poses to follow, or motion=RUN that makes them, not both")
        if options.driving is None and options.motion is None:
            raise ConfigError(
                "give motion=RUN, a network of versa.audio_motion that makes poses of speech and text, or driving=FILE "
                "with poses"
            )
        if options.driving is None and options.audio is None and options.text is None:
            raise ConfigError("give audio=FILE to speak to, text=WORDS to act to, or driving=FILE with poses to follow")
        if options.audio is not None and options.seconds is not None:
            raise ConfigError(f"seconds={options.seconds:g}: the speech says how long the video is; leave seconds out")
        if self.network.face_attention:
            return
        weights = [f"guidance_{name}" for name in ("identity", "audio", "expression", "blink")]
        for name in (*OF_FACE, *weights):
            if getattr(options, name) is not None:
                raise ConfigError(
                    f"{name}={getattr(options, name)}: {self.export.name} ({self.export.stage}) pays no attention to "
                    "the face; leave it out, or take a run of versa.audio_video"
                )

    def _check_windows(self, total: int, overlap: int | None) -> None:
        try:
            anchored_windows(total, self.network.window, overlap)
        except ValueError as error:
            raise ConfigError(f"overlap={overlap}: {error}") from None

    def _body(self, options: VersaVideoOptions) -> BodyMotion:
        export = find_export(str(options.motion))
        if export.stage not in MOTION:
            raise ConfigError(f"motion={options.motion} is a network of {export.stage}; one of {MOTION[0]} is needed")
        body = BodyMotion(export, self.device)
        body.use(options.tokenizer, options.bank)
        return body

    def _identity(
        self, options: VersaVideoOptions, picture: np.ndarray, person: np.ndarray
    ) -> tuple[Tensor | None, str | None]:
        """Embedding (1, A) of the face, and what made it."""
        if not self.network.face_attention or options.identity == OFF:
            return None, None
        network = face_network_of(self.export, self.network, options.identity)
        return identity_of(network, picture, person, str(options.image)), str(network.source)

    def _poses(
        self,
        options: VersaVideoOptions,
        body: BodyMotion,
        audio: np.ndarray | None,
        person: np.ndarray,
        picture: tuple[int, int],
    ) -> Fitted:
        """Poses (T, 134, 3) of text and speech at the video's frame rate, as long as these."""
        text, seconds = read_texts(options.text), options.seconds
        if audio is not None:
            seconds = len(audio) / SAMPLE_RATE
            check_spans("text", options.text, seconds, "the sound")
        elif seconds is None and isinstance(text, list):
            seconds = max(end for _, end, _ in text)
        features = None
        if audio is not None and body.network.audio is not None:
            features = body.hearing(True, options.speech if body.listens_to_layers else None)(audio)
        if features is None and text is None:
            raise ConfigError(f"motion={options.motion} was trained on text alone: give text=WORDS")
        made, how = body.poses(text, features, seconds, person, picture, seed=options.seed)
        total = len(made) if seconds is None else max(1, round(seconds * self.fps))
        return Fitted(at_rate(made, FPS, self.fps, total), how)

    def _said(self, options: VersaVideoOptions) -> dict[str, Any]:
        names = ("seed", "quality", "retarget", "text", "expression", "blink", "motion_bucket")
        return {name: getattr(options, name) for name in names}
