"""Text and speech to poses of the whole body with VersaAnimator's motion half (VA-9, VA-10)."""

import math
from dataclasses import replace

import numpy as np

from datamodules.media.files import SAMPLE_RATE
from datamodules.media.picture import read_image
from models.versa.token2pose import FPS
from pretrained.exports import Export
from settings import ConfigError
from settings.device import device_of
from trainers.animation.files import PoseAnimation, write_animation
from trainers.animation.fitting import say
from trainers.animation.frame_size import frame_size
from trainers.animation.request import (
    Request,
    check_files,
    detect_first_pose,
    hashes,
    read_first_pose,
    read_speech,
    video_size,
)
from trainers.versa.body import BodyMotion
from trainers.versa.system import BodyOptions
from trainers.versa.timed_text import read_texts


class VersaAnimator:
    """Motion tokens from text and speech, real poses from a bank, brought onto the person in the picture.

    Without a bank the motion's joints are projected; face and hands are then the picture's own, carried along by nose
    and wrists. Any picture will do, of the head alone as of the whole body: what is missing there is outside the frame
    (VA-16).

    Args:
        export: the trained text-to-motion or audio-to-motion network.
        fps: frames a second that were asked for; poses come at 25.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: another frame rate.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export = export
        self.body = BodyMotion(export, device_of(device))
        if fps not in (None, FPS):
            raise ConfigError(f"fps={fps:g}: {export.name} makes poses at {FPS:g} frames a second; leave fps out")

    def animate(self, options: BodyOptions) -> PoseAnimation:
        """Generate and write what was asked for."""
        if options.audio is None and options.text is None:
            raise ConfigError("give audio=FILE to speak to, or text=WORDS, or both")
        hearing = self.body.hearing(options.audio is not None, options.speech)
        self.body.use(options.tokenizer, options.bank)
        request, text = self._request(options), read_texts(options.text)
        fitted = self.body.poses(
            text,
            hearing(request.audio) if options.audio else None,
            options.seconds,
            request.first_pose,
            (request.height, request.width),
            seed=options.seed,
            steps=options.steps,
            guidance=options.guidance,
        )
        say(fitted.how)
        seconds = options.seconds or len(request.audio) / SAMPLE_RATE
        if not seconds and isinstance(text, list):
            seconds = max(end for _, end, _ in text)
        frames = max(1, math.ceil(round(seconds * FPS, 6)))  # the last token may reach further
        model = self.export.about
        request = replace(request, more=request.more | {"fitted": fitted.how})
        return write_animation(request, fitted.poses[:frames], FPS, model)

    def _request(self, options: BodyOptions) -> Request:
        if options.image is None and options.pose is None:
            raise ConfigError("give image=PICTURE of the person, or pose=FILE")
        files = {"image": options.image, "audio": options.audio, "pose": options.pose}
        check_files(files)
        speech, sound = (np.zeros(0, np.float32), None) if options.audio is None else read_speech(options.audio)
        picture = None if options.image is None else read_image(options.image)
        if options.pose is not None:
            first_pose = read_first_pose(options.pose, face=False)
        else:
            first_pose = detect_first_pose(picture, options.image)  # type: ignore[arg-type]
        shape = frame_size(options.pose) if picture is None else picture.shape[:2]  # type: ignore[arg-type]
        height, width = video_size(shape, options.size)
        steps = self.body.network.steps if options.steps is None else options.steps
        guidance = self.body.network.guidance if options.guidance is None else options.guidance
        return Request(
            picture, first_pose, speech, sound, height, width, options.out, options.seed, steps, guidance,
            hashes(files), {name: value for name in ("text", "speech") if (value := getattr(options, name))},
        )  # fmt: skip
