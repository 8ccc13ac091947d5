"""ChatAnyone live: a picture, and networks that were trained for it, to a person who is ready to speak."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.chatanyone.portrait import Portrait
from pretrained.exports import Export
from settings import ConfigError
from settings.device import device_of
from trainers.animation.driving import driving_poses
from trainers.animation.frames import half_precision
from trainers.animation.request import check_files, hashes
from trainers.chatanyone.cast import Cast, Named, speaking_cast, speaking_head
from trainers.chatanyone.people import fit_poses, read_person
from trainers.chatanyone.system import HeadLiveOptions, LiveOptions
from trainers.streaming.window import Live, Part, Window


class LiveHead:
    """Makes the head of a picture speak as sound comes in (CA-15); offsets, body and hands stay the picture's.

    Args:
        export: the trained face motion.
        device: where it runs; `auto` is a GPU where there is one.
    """

    def __init__(self, export: Export, device: str = "auto"):
        self.export, self.device = export, device_of(device)

    def live(self, options: HeadLiveOptions) -> Live:
        """Read the picture and get ready.

        Raises:
            ConfigError: networks that do not go together, or values that make no sense.
            MediaError: a picture that cannot be used, such as one without a head.
        """
        if options.image is None:
            raise ConfigError("give image=PICTURE of the person")
        files = {"image": options.image, "pose": options.pose, "reference": options.reference}
        check_files(files)
        networks, about = self.cast(options)
        if networks.face.audio != "mel":
            raise ConfigError(
                f"{self.export.name} hears the layers of a speech recogniser, which are made of whole clips: a stream "
                "needs networks that were trained with stage.network.audio=mel"
            )
        person = read_person(options.image, options.pose, networks.template, networks.renderer)
        style = None
        if options.reference is not None:
            poses, size = driving_poses(options.reference, float(networks.face.fps))
            style = fit_poses(networks.template, poses, size, str(options.reference)).expression
        try:
            # The first is for what is made once: memory, threads, plans of convolutions. It is not heard of again.
            warm, portrait = (
                Portrait(
                    networks, person,
                    seed=options.seed, steps=options.steps, sampler=options.sampler, guidance=options.guidance,
                    expression_range=options.expression_range, pose_range=options.pose_range, reference=style,
                )
                for _ in range(2)
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"{self.export.name}: {error}") from None
        warm.pictures(warm.move(warm.hear(torch.zeros(0), 0)))
        settings = {
            "seed": options.seed, **portrait.sampling, "sampler": options.sampler,
            "expression_range": options.expression_range, "pose_range": options.pose_range, "half": options.half,
            "networks": about,
        }  # fmt: skip
        still = (person.image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        return live_of(portrait, still, options.half, self.export.about, hashes(files), settings)

    def cast(self, options: Any) -> Cast:
        """The networks."""
        return speaking_head(self.export, Named(None, options.renderer, options.refine, options.template), self.device)


class LivePortrait(LiveHead):
    """Makes a picture of the upper body speak as sound comes in (CA-15).

    Args:
        export: the trained body motion.
        device: where it runs; `auto` is a GPU where there is one.
    """

    def cast(self, options: LiveOptions) -> Cast:
        """The networks."""
        named = Named(options.face, options.renderer, options.refine, options.template)
        return speaking_cast(self.export, named, self.device)


def live_of(
    portrait: Portrait,
    still: np.ndarray,
    half: bool = False,
    model: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Live:
    """A portrait as parts of a stream: face, body, renderer and refinement.

    Args:
        portrait: of which nothing has been asked yet.
        still: (H, W, 3) uint8, its picture.
        half: half precision of renderer and refinement.
        model, inputs, settings: see `Live`.
    """

    def face(window: Window) -> Any:
        if not window.wanted:
            portrait.skip("face")
            return None
        heard = portrait.hear(torch.from_numpy(window.speech), window.number, window.start)
        return heard, portrait.face(heard)

    def body(window: Window) -> Any:
        if window.value is None or not window.wanted:
            portrait.skip("body")
            return None
        return portrait.body(*window.value)

    def render(window: Window) -> Any:
        if window.value is None or not window.wanted:
            return None
        moves = only(window.value, window.wanted)
        with half_precision(portrait.device, half):
            return portrait.render(moves), moves

    def refine(window: Window) -> Any:
        if window.value is None:
            return None
        with half_precision(portrait.device, half):
            made = portrait.refine(*window.value)[0]
        return (made.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    parts = [
        Part("face", face, "window"),
        Part("body", body, "window"),
        Part("render", render, "frames"),
        Part("refine", refine),
    ]
    about = (dict(model or {}), dict(inputs or {}), dict(settings or {}))
    return Live(portrait.fps, portrait.window, portrait.span, parts, still, *about)


def only(moves: Any, frames: list[int]) -> Any:
    """Some frames of tensors (1, T, ...), which may stand in named tuples within one another."""
    if moves is None or isinstance(moves, Tensor):
        return moves if moves is None or len(frames) == moves.shape[1] else moves[:, frames]
    return type(moves)(*(only(part, frames) for part in moves))
