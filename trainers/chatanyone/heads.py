"""The head template as the renderer's stages read it: coefficients of a batch to key points in its frames (CA-1)."""

from typing import Any, Final

import torch

from datamodules.clip import ClipInfo
from models.chatanyone.grid import Heads, landmark_heads
from models.chatanyone.head import HeadTemplate
from models.chatanyone.renderer import Renderer
from preprocessing.head.points import in_frames
from pretrained.exports import find_stage, load_network
from pretrained.frozen import Frozen
from pretrained.hashes import short
from settings import ConfigError
from trainers.stage.agreement import Expected, made_by

TEMPLATE: Final = "chatanyone.head"
KEY: Final = "head.npz"


class TemplateHeads(Frozen[HeadTemplate]):
    """The head template that clips' coefficients are of, as the renderer's stages read it.

    Args:
        name: its folder or hub name.

    Raises:
        ConfigError: no head template there, or an empty one.
    """

    def __init__(self, name: str):
        export = find_stage(name, "template", TEMPLATE)
        template = load_network(HeadTemplate, export)
        if not template.made:
            raise ConfigError(f"stage.template={name} is empty: make one with `python -m preprocessing.head`")
        super().__init__(template, export.sha256)

    @classmethod
    def of(cls, stage: Any, name: str) -> "TemplateHeads":
        """The template of a stage, which then reads `head.npz`, and whose network remembers it.

        Raises:
            ConfigError: no such template, or a network of another number of key points.
        """
        template = cls(name)
        given, wanted = stage.network.head_points, template.network.points
        if given != wanted:
            raise ConfigError(
                f"stage.network.head_points is {given}, but stage.template has {wanted} key points: set "
                f"stage.network.head_points={wanted}"
            )
        remember(stage.network, template)
        stage.needs = (*stage.needs, KEY)
        return template

    @torch.no_grad()
    def points(self, batch: Any) -> Heads:
        """Of a batch's frames, from its coefficients (`head.npz`)."""
        head = batch.arrays["head"]
        pose = head["pose"]
        person = head["identity"][:, None].expand(-1, pose.shape[1], -1)
        points = self.network(head["expression"], pose, person)
        height, width = batch.video.shape[-2:]
        frame = ClipInfo(id="frame", source="", end=1, fps=1, frames=1, height=height, width=width)
        infos, fits = batch.infos or [frame] * len(points), batch.fits or [None] * len(points)
        placed = [in_frames(*each) for each in zip(points, infos, fits, strict=True)]
        return Heads(torch.stack(placed), head["error"] >= 0)


def heads(batch: Any, template: TemplateHeads | None) -> Heads:
    """The heads of a batch's frames: the template's key points, or without one the landmarks of faces."""
    return landmark_heads(batch.pose) if template is None else template.points(batch)


def remember(network: Renderer, template: TemplateHeads | None) -> None:
    """Let a network know by whose key points it is trained."""
    network.set_template("" if template is None else template.sha256)


def expected_of(template: TemplateHeads | None) -> list[Expected]:
    """The clips' coefficients have to be of the stage's template."""
    return [] if template is None else [made_by(KEY, template.sha256, "stage.template")]


def check_template(sha256: str, template: TemplateHeads | None, whose: str) -> None:
    """Raises ConfigError where a network was trained with key points of another kind than a stage's.

    Args:
        sha256: of the template that it was trained with; empty for landmarks of faces.
        template: of the stage.
        whose: what the network is, in words.
    """
    own = "" if template is None else template.sha256
    if own == sha256:
        return
    trained = f"the head template with the hash {short(sha256)}" if sha256 else "landmarks of faces"
    given = f"is another one ({short(own)})" if own else "is not given"
    mend = "leave stage.template out" if not sha256 else "give that one"
    raise ConfigError(f"{whose} was trained with {trained}, but stage.template {given}: {mend}")
