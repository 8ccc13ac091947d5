"""A picture that speaks, or moves as somebody in a video does, with ChatAnyone's networks."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from datamodules.media.files import SAMPLE_RATE
from models.chatanyone.grid import Heads
from models.chatanyone.portrait import Portrait, perform
from models.chatanyone.puppet import Frames, Puppet, relative
from models.chatanyone.renderer import FrameMotion
from models.human.keypoints import HANDS
from pretrained.exports import Export
from settings import ConfigError
from settings.device import device_of
from trainers.animation import frames
from trainers.animation.driving import driving_poses
from trainers.animation.files import Animation
from trainers.animation.request import LARGEST, check_files, check_fps, hashes, listen
from trainers.chatanyone.cast import Named, ear_of, moving_cast, speaking_cast
from trainers.chatanyone.people import Cut, fit_poses, read_person, read_picture
from trainers.chatanyone.system import PortraitOptions, ReenactOptions


class PortraitAnimator:
    """Makes a picture speak: the head by `face_motion`, the rest by a trained `body_motion`, frames by the renderer.

    Args:
        export: the trained body motion.
        fps: frames a second that were asked for; None takes the network's.
        device: where it runs; `auto` is a GPU where there is one.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export, self.fps, self.device = export, fps, device

    def animate(self, options: PortraitOptions) -> Animation:
        """Generate and write what was asked for."""
        if options.image is None:
            raise ConfigError("give image=PICTURE of the person")
        if options.audio is None:
            raise ConfigError("give audio=FILE: the speech to move to")
        files = {"image": options.image, "audio": options.audio, "pose": options.pose, "reference": options.reference}
        check_files(files)
        named = Named(options.face, options.renderer, options.refine, options.template)
        networks, about = speaking_cast(self.export, named, device_of(self.device))
        fps = float(networks.face.fps)
        check_fps(self.fps, fps, self.export.name)
        audio = listen(options.audio)
        heard = ear_of(self.export, networks.face, options.speech, self.device)(audio)
        person = read_person(options.image, options.pose, networks.template, networks.renderer)
        style = None
        if options.reference is not None:
            poses, size = driving_poses(options.reference, fps)
            style = fit_poses(networks.template, poses, size, str(options.reference)).expression
        try:
            portrait = Portrait(
                networks, person,
                seed=options.seed, steps=options.steps, sampler=options.sampler, guidance=options.guidance,
                expression_range=options.expression_range, pose_range=options.pose_range, reference=style,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(str(error)) from None
        total = max(1, round(len(audio) / SAMPLE_RATE * fps))
        speech = torch.from_numpy(np.ascontiguousarray(heard, np.float32))
        output = shown(portrait, perform(portrait, speech, total), options.size)
        given = ("seed", "steps", "sampler", "guidance", "expression_range", "pose_range")
        settings: dict[str, Any] = {name: getattr(options, name) for name in given} | {"networks": about}
        sound = frames.sound_of(options.audio)
        return frames.write(options.out, output, fps, sound, self.export.about, hashes(files), settings, total)


class Reenactor:
    """Moves a picture as the person in a driving video moves, by a trained renderer and the refinement of faces.

    Args:
        export: the trained renderer.
        fps: frames a second of the video that is made; 25 where left out.
        device: where it runs; `auto` is a GPU where there is one.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export, self.fps, self.device = export, 25.0 if fps is None else fps, device_of(device)

    def animate(self, options: ReenactOptions) -> Animation:
        """Re-enact and write what was asked for."""
        from preprocessing.videos.decode import SourceVideo

        if options.image is None:
            raise ConfigError("give image=PICTURE of the person")
        if options.driving is None:
            raise ConfigError(
                f"{self.export.name} is a renderer, which knows nothing of speech: give driving=VIDEO that drives the "
                "picture, or the run of a chatanyone.body_motion network with audio=FILE"
            )
        files = {
            "image": options.image, "audio": options.audio, "pose": options.pose, "driving": options.driving,
            "driving_pose": options.driving_pose,
        }  # fmt: skip
        check_files(files)
        renderer, refiner, template, about = moving_cast(
            self.export, Named(refine=options.refine, template=options.template), self.device
        )
        picture, cut = read_picture(options.image, options.pose, renderer)
        seen = cut.heads(template, renderer, str(options.image))
        try:
            puppet = Puppet(renderer, refiner, picture, seen.points[0])
        except ValueError as error:
            raise ConfigError(f"{options.image}: {error}") from None
        poses, _ = driving_poses(options.driving_pose or options.driving, self.fps)
        with SourceVideo(options.driving, self.fps, LARGEST) as video:
            there = Cut.of(poses, (video.height, video.width), renderer)
            heads = there.heads(template, renderer, str(options.driving))
            moves = driven(puppet, there, heads, (slot.rgb for slot in video.slots()), options.batch)
            if options.relative:
                moves = departures(puppet, moves)
            sound = None
            if options.audio is not None:
                sound = frames.sound_of(options.audio)
            elif video.sound is not None:
                sound = frames.Track(frames.pieces_of(video.sound), SAMPLE_RATE)
            settings = {"relative": options.relative, "networks": about}
            output = shown(puppet, moves, options.size)
            return frames.write(
                options.out, output, self.fps, sound, self.export.about, hashes(files), settings, video.expected
            )


@torch.no_grad()
def driven(puppet: Puppet, cut: Cut, heads: Heads, pictures: Iterable[np.ndarray], batch: int) -> Iterator[Frames]:
    """What moves the frames of a driving video, some at a time.

    Args:
        puppet: that is moved.
        cut: of the video's frames, with a pose for each.
        heads: in these.
        pictures: the video's frames (H, W, 3) uint8; where there are more than poses, the last pose is held.
        batch: frames that are looked at together.
    """
    last, start, source = len(cut.poses) - 1, 0, iter(pictures)
    while held := list(islice(source, batch)):
        rows = torch.arange(start, start + len(held)).clamp(max=last)
        points = heads.points[rows].float().to(puppet.device)
        seen = puppet.renderer.encode_motion(cut.pictures(np.stack(held)).to(puppet.device), points)
        hands = torch.from_numpy(cut.poses[rows.numpy()][:, HANDS]).to(puppet.device)
        yield Frames(points[None], FrameMotion(*(part[None].float() for part in seen)), hands[None])
        start += len(held)


def departures(puppet: Puppet, moves: Iterable[Frames]) -> Iterator[Frames]:
    """How a driving video departs from its own first frame, brought onto the picture."""
    first: Frames | None = None
    for some in moves:
        first = some.first(1) if first is None else first
        yield relative(some, first, puppet)


def shown(puppet: Puppet, moves: Iterable[Frames], size: int | None) -> Iterator[np.ndarray]:
    """Finished frames (H, W, 3) uint8, one after another.

    Args:
        puppet: that is moved.
        moves: what moves it.
        size: longer side in pixels; the network's own where None.
    """
    import cv2

    scale = 1.0 if size is None else size / max(puppet.height, puppet.width)
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (puppet.width, puppet.height))
    for some in moves:
        for frame in puppet.pictures(some).numpy():
            same = frame.shape[:2] == (height, width)
            yield frame if same else cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
