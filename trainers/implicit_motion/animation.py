"""A picture and speech, or a picture and a driving video, to video with implicit motion."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.media.files import SAMPLE_RATE
from datamodules.media.picture import read_image
from models.implicit_motion.base import ImplicitMotion
from models.implicit_motion.generate import generate_chunks
from models.implicit_motion.motion import MotionDiffusion
from preprocessing.videos.square import Square
from pretrained.exports import Export, load_network
from settings import ConfigError
from settings.device import device_of
from trainers.animation import frames
from trainers.animation.files import Animation
from trainers.animation.request import LARGEST, check_files, check_fps, hashes, listen, read_first_pose
from trainers.animation.square import find_square
from trainers.implicit_motion.pictures import rendered
from trainers.implicit_motion.system import ReenactOptions, SpeakOptions
from trainers.run.exports import find_export

if TYPE_CHECKING:
    from preprocessing.videos.decode import SourceVideo

BASE: Final = "implicit_motion.base"


class Reenactor:
    """Moves a picture as the person in a driving video moves, with a trained base network.

    Args:
        export: the trained base network.
        fps: frames a second of the video that is made; 25 where left out.
        device: where it runs; `auto` is a GPU where there is one.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export, self.fps = export, 25.0 if fps is None else fps
        self.device = chosen(device)
        self.network = load_network(ImplicitMotion, export).to(self.device)

    def animate(self, options: ReenactOptions) -> Animation:
        """Re-enact and write what was asked for."""
        from preprocessing.videos.decode import SourceVideo

        if options.video is None:
            raise ConfigError(
                f"{self.export.name} is a base network, which knows nothing of speech: give video=FILE that drives the "
                "picture, or the run of an implicit_motion.motion network with audio=FILE"
            )
        files = {"image": options.image, "video": options.video, "audio": options.audio, "pose": options.pose}
        check_files(files)
        picture = read_picture(options, self.network.image_size)
        source = encode(self.network, picture, self.device)
        settings = {"beta": options.beta, "relative": options.relative, "crop": options.crop}
        with SourceVideo(options.video, self.fps, LARGEST) as driving:
            motion = self._motion(driving, options, source.motion)
            output = rendered(self.network, source, motion, options, options.size or self.network.image_size)
            sound: frames.Track | None = None
            if options.audio is not None:
                sound = frames.sound_of(options.audio)
            elif driving.sound is not None:
                sound = frames.Track(frames.pieces_of(driving.sound), SAMPLE_RATE)
            model, total = self.export.about, driving.expected
            return frames.write(options.out, output, self.fps, sound, model, hashes(files), settings, total)

    @torch.no_grad()
    def _motion(self, driving: "SourceVideo", options: ReenactOptions, still: Tensor) -> Iterator[Tensor]:
        """Motion features (n, 768) of the driving video; relative ones are its way from its first frame."""
        first: Tensor | None = None
        for held in batched(self._pictures(driving, options), options.batch):
            pictures = torch.from_numpy(np.stack(held)).permute(0, 3, 1, 2).contiguous().to(self.device)
            with frames.half_precision(self.device, options.half):
                motion = self.network.encode_motion(pictures.float() / 255).float()
            first = motion[:1] if first is None else first
            yield still + motion - first if options.relative else motion

    def _pictures(self, driving: "SourceVideo", options: ReenactOptions) -> Iterator[np.ndarray]:
        """Frames (S, S, 3) of the driving video, all cut as the first is."""
        square: Square | None = None
        for slot in driving.slots():
            if square is None:
                square = find_square(slot.rgb, options.crop, f"the first frame of {options.video}")
            yield square.cut(slot.rgb, self.network.image_size)


class MotionAnimator:
    """Makes a picture speak: motion features from a trained diffusion, frames from the base network it was trained on.

    Args:
        export: the trained diffusion.
        fps: frames a second that were asked for; None takes the network's.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: another frame rate than the network was trained at.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export = export
        self.device = chosen(device)
        self.network = load_network(MotionDiffusion, export).to(self.device)
        self.fps = float(self.network.fps)
        check_fps(fps, self.fps, export.name)

    def animate(self, options: SpeakOptions) -> Animation:
        """Generate and write what was asked for."""
        if options.audio is None:
            raise ConfigError("give audio=FILE: the speech to move to")
        files = {"image": options.image, "audio": options.audio, "pose": options.pose}
        check_files(files)
        base = self.base(options.base)
        audio = listen(options.audio)
        speech, total = self.listen(audio), max(1, round(len(audio) / SAMPLE_RATE * self.fps))
        picture = read_picture(options, base.image_size)
        source = encode(base, picture, self.device)
        steps = self.network.sampling_steps if options.steps is None else options.steps
        guidance = self.network.guidance if options.guidance is None else options.guidance
        chunks = generate_chunks(
            self.network,
            source.motion,
            source.appearance,
            torch.from_numpy(speech)[None].to(self.device),
            seed=options.seed,
            steps=steps,
            guidance=guidance,
        )
        motion = (chunk[0] for chunk in chunks)
        output = rendered(base, source, motion, options, options.size or base.image_size)
        settings: dict[str, Any] = {"seed": options.seed, "steps": steps, "guidance": guidance, "beta": options.beta}
        settings["crop"] = options.crop
        sound = frames.sound_of(options.audio)
        return frames.write(options.out, output, self.fps, sound, self.export.about, hashes(files), settings, total)

    def base(self, given: str | None) -> ImplicitMotion:
        """The base network: the one given, else the one of the run's config.

        Raises:
            ConfigError: there is none, or it is not the one that the diffusion was trained on.
        """
        name = given or self.export.settings.get("stage", {}).get("base")
        if name is None:
            raise ConfigError(
                f"{self.export.name} does not say which base network it was trained on: give base=RUN (a run folder, "
                "export or hub name)"
            )
        export = find_export(name)
        if export.stage != BASE:
            raise ConfigError(f"base={name} is a network of {export.stage}; one of {BASE} is needed")
        trained_on = self.network.space.base_sha256
        if trained_on and export.sha256 != trained_on:
            raise ConfigError(
                f"base={name} is another network than the one whose features {self.export.name} was trained on "
                f"(its hash begins with {export.sha256[:16]}, wanted is {trained_on[:16]})"
            )
        return load_network(ImplicitMotion, export).to(self.device)

    def listen(self, audio: np.ndarray) -> np.ndarray:
        """What the network hears of audio (N,) at 16 kHz: the sound itself, or features (T, 35), one row a frame."""
        if self.network.audio == "raw":
            return audio
        from preprocessing.speech.handcrafted import long_features

        return long_features(audio, max(1, round(len(audio) / 16_000 * self.fps)), self.fps)

    def frames(self, heard: np.ndarray) -> int:
        """Frames of video for what the network hears."""
        return max(1, round(len(heard) / 16_000 * self.fps)) if self.network.audio == "raw" else len(heard)


def chosen(device: str) -> torch.device:
    """A device by name; `auto` is a GPU where there is one."""
    return device_of(device)


def read_picture(options: ReenactOptions | SpeakOptions, size: int) -> np.ndarray:
    """The source picture, cut square, (size, size, 3) uint8 RGB.

    Raises:
        ConfigError: no picture was given.
        MediaError: it cannot be read, or shows nobody, or several people.
    """
    if options.image is None:
        raise ConfigError("give image=PICTURE of the person")
    picture = read_image(options.image)
    pose = None if options.pose is None else read_first_pose(options.pose)
    return find_square(picture, options.crop, str(options.image), pose).cut(picture, size)


@torch.no_grad()
def encode(network: ImplicitMotion, picture: np.ndarray, device: torch.device) -> Any:
    """What the base network makes of a picture (S, S, 3) uint8."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
    return network.encode_source(pixels.to(device).float() / 255)


def batched(items: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """Items in lists of a size, the last may be shorter."""
    while held := list(islice(items, size)):
        yield held
