"""The networks of ChatAnyone that go together: found by the runs that name one another, and checked (CA-9)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch

from models.chatanyone.body_motion import BodyMotion
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.head import HeadTemplate
from models.chatanyone.portrait import Networks, check_together
from models.chatanyone.renderer import Renderer
from preprocessing.speech.pretrained import RATE, PretrainedSpeech
from preprocessing.speech.whisper import WhisperSpeech
from pretrained.exports import Export, load_frozen, load_network
from pretrained.hashes import short
from pretrained.speech import WHISPER, kind_of
from settings import ConfigError
from trainers.animation.hearing import WHERE, layer_numbers
from trainers.run.exports import find_export

FACE: Final = "chatanyone.face_motion"
BODY: Final = "chatanyone.body_motion"
RENDERER: Final = "chatanyone.renderer"
REFINE: Final = "chatanyone.face_refine"
TEMPLATE: Final = "chatanyone.head"
SAMPLES: Final = 16_000
N = TypeVar("N", bound=torch.nn.Module)


class Named(NamedTuple):
    """What a user says of the networks beside the one that is run; what is left out, the runs say.

    Attributes:
        face: run of `chatanyone.face_motion`.
        renderer: run of `chatanyone.renderer`.
        refine: run of `chatanyone.face_refine`; without one faces are as the renderer makes them.
        template: folder or hub name of the head template.
    """

    face: str | None = None
    renderer: str | None = None
    refine: str | None = None
    template: str | None = None


class Cast(NamedTuple):
    """Networks that go together, and where they come from.

    Attributes:
        networks: on their device.
        about: name and hash of each but the one that is run, for what is made with it.
    """

    networks: Networks
    about: dict[str, dict[str, str]]


def speaking_cast(export: Export, named: Named, device: torch.device) -> Cast:
    """All that makes a picture speak, about a trained `chatanyone.body_motion`.

    Raises:
        ConfigError: one of them is missing, or was not trained with the others.
    """
    body = load_network(BodyMotion, export).to(device)
    where = named.renderer or _stated(export, "renderer")
    if where is None:
        raise ConfigError(f"{export.name} does not say with which renderer it goes: give renderer=RUN of {RENDERER}")
    moved = _find("renderer", where, RENDERER)
    trained = body.space.renderer_sha256
    if trained and moved.sha256 != trained:
        raise ConfigError(
            f"renderer={where} is another network than the one whose features {export.name} was trained on (its hash "
            f"begins with {short(moved.sha256)}, wanted is {short(trained)})"
        )
    if named.face is None:
        raise ConfigError(f"give face=RUN of {FACE}, which makes the head's motion of speech")
    spoken = _find("face", named.face, FACE)
    face = load_network(FaceMotion, spoken).to(device)
    renderer, refiner, about = _rendering(moved, named.refine, device)
    template, of_template = _template_of(
        named, (spoken, moved), {"face": face.space.template_sha256, "renderer": renderer.template_sha256}, device
    )
    networks = _together(Networks(template, face, body, renderer, refiner))
    return Cast(networks, about | {"face": spoken.about, "template": of_template})


def speaking_head(export: Export, named: Named, device: torch.device) -> Cast:
    """What makes the head of a picture speak while its body is held, about a trained `chatanyone.face_motion`.

    Raises:
        ConfigError: as `speaking_cast`.
    """
    face = load_network(FaceMotion, export).to(device)
    if named.renderer is None:
        raise ConfigError(f"give renderer=RUN of {RENDERER}, which moves the picture")
    moved = _find("renderer", named.renderer, RENDERER)
    renderer, refiner, about = _rendering(moved, named.refine, device)
    template, of_template = _template_of(
        named, (export, moved), {"run": face.space.template_sha256, "renderer": renderer.template_sha256}, device
    )
    networks = _together(Networks(template, face, None, renderer, refiner))
    return Cast(networks, about | {"template": of_template})


def _template_of(
    named: Named, runs: Sequence[Export], wanted: Mapping[str, str], device: torch.device
) -> tuple[HeadTemplate, dict[str, str]]:
    """The head template that is named, else that of the first of the runs that says one; its name and hash.

    Raises:
        ConfigError: none is known, or it is another than networks were trained with (`wanted`, by their option).
    """
    where = named.template or next((said for run in runs if (said := _stated(run, "template"))), None)
    if where is None:
        raise ConfigError(
            "no run says where the head template is: give template=FOLDER (`python -m preprocessing.head`)"
        )
    template, sha256 = head_template(where, device)
    check_template(sha256, where, wanted)
    return template, {"name": str(where), "sha256": sha256}


def _together(networks: Networks) -> Networks:
    """The same. Raises ConfigError for networks that do not go together."""
    try:
        check_together(networks)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return networks


class Movers(NamedTuple):
    """What moves a picture as somebody else moves.

    Attributes:
        renderer: on its device.
        refiner: makes faces anew, or None.
        template: the head template that the renderer was trained with; None for landmarks of faces.
        about: name and hash of each but the renderer.
    """

    renderer: Renderer
    refiner: FaceRefiner | None
    template: HeadTemplate | None
    about: dict[str, dict[str, str]]


def moving_cast(export: Export, named: Named, device: torch.device) -> Movers:
    """A trained renderer with what it goes with. Raises ConfigError as `speaking_cast`."""
    renderer, refiner, about = _rendering(export, named.refine, device)
    about.pop("renderer")
    if not renderer.template_sha256:
        if named.template is not None:
            raise ConfigError(
                f"template={named.template}: {export.name} was trained with landmarks of faces; leave it out"
            )
        return Movers(renderer, refiner, None, about)
    template, of_template = _template_of(named, (export,), {"renderer": renderer.template_sha256}, torch.device("cpu"))
    return Movers(renderer, refiner, template, about | {"template": of_template})


def head_template(where: str, device: torch.device) -> tuple[HeadTemplate, str]:
    """A head template and the SHA-256 of its weights. Raises ConfigError where there is none."""
    template, sha256 = load_frozen(HeadTemplate, "template", where, "a head template")
    return template.to(device), sha256


def check_template(sha256: str, where: str, wanted: Mapping[str, str]) -> None:
    """Raises ConfigError unless a head template is that of every network that knows one (`wanted`, by its option)."""
    for option, trained in wanted.items():
        if trained and trained != sha256:
            raise ConfigError(
                f"template={where} is another head template than the network of {option} was trained with (its hash "
                f"begins with {short(sha256)}, wanted is {short(trained)})"
            )


def ear_of(export: Export, network: FaceMotion, model: str | None, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """From sound (N,) at 16 kHz to what networks hear: the sound itself, or layers (L, S, C) at 50 Hz.

    Args:
        export: of the network that hears.
        network: itself.
        model: folder or hub name of the speech recogniser, where it hears layers.
        device: where that one runs.

    Raises:
        ConfigError: no recogniser is given, or one for networks that hear sound.
    """
    if network.audio == "mel":
        if model is not None:
            raise ConfigError(f"speech={model}: {export.name} hears sound itself; leave it out")
        return lambda audio: audio
    if model is None:
        raise ConfigError(f"{export.name} listens to layers of a speech recogniser: give speech=MODEL, {WHERE}")
    kind: Any = WhisperSpeech if kind_of(model) == WHISPER else PretrainedSpeech
    speech = kind(model, layer_numbers(export.settings) or "all", device=device)
    if speech.channels != network.layer_channels:
        raise ConfigError(
            f"speech={model} gives {speech.channels} channels, {export.name} was trained on {network.layer_channels}"
        )
    return lambda audio: speech.features(audio, max(1, round(len(audio) / SAMPLES * RATE)))


def _rendering(
    export: Export, refine: str | None, device: torch.device
) -> tuple[Renderer, FaceRefiner | None, dict[str, dict[str, str]]]:
    renderer = load_network(Renderer, export).to(device)
    about = {"renderer": export.about}
    if refine is None:
        return renderer, None, about
    found = _find("refine", refine, REFINE)
    refiner = load_network(FaceRefiner, found).to(device)
    for what, one, other in (
        ("key points of the head", refiner.head_points, renderer.head_points),
        ("head template", short(refiner.template_sha256) or "none", short(renderer.template_sha256) or "none"),
    ):
        if one != other:
            raise ConfigError(f"refine={refine} does not go with the renderer: its {what} is {one}, not {other}")
    return renderer, refiner, about | {"refine": found.about}


def _find(option: str, where: str, stage: str) -> Export:
    export = find_export(where)
    if export.stage != stage:
        raise ConfigError(f"{option}={where} is a network of {export.stage}; one of {stage} is needed")
    return export


def _stated(export: Export, name: str) -> str | None:
    """What a run's config says of an earlier one."""
    return export.settings.get("stage", {}).get(name)
