"""The kinds of head template by name. A new one is an entry here and a class that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from models.chatanyone.head import HeadTemplate
from models.chatanyone.head_fit import NoHead
from models.chatanyone.head_linear import SeenFace, linear_template
from models.chatanyone.head_smplx import smplx_template
from models.human.body_model import WHERE, BodyModelError, load_body_model
from settings import ConfigError, Registry
from settings.ranges import Positive

TEMPLATES: Final = Registry(
    "head template",
    {
        "linear": "preprocessing.head.templates:LinearHead",
        "smplx": "preprocessing.head.templates:SmplxHead",
    },
)


class HeadMaker(Protocol):
    """One kind of template."""

    reads_clips: bool
    """Whether it is made from clips."""

    def make(self, clips: Sequence[SeenFace]) -> HeadTemplate:
        """The template. Raises ConfigError where it cannot be made."""
        ...


class LinearHead:
    """Principal directions of the shards' own face points: no download, no licence, and the default.

    Args:
        distance: usual distance of a head from the camera, heights of the frame.
    """

    reads_clips = True

    def __init__(self, *, distance: Positive = 2.0) -> None:
        self.distance = distance

    def make(self, clips: Sequence[SeenFace]) -> HeadTemplate:
        """See `HeadMaker`."""
        try:
            return linear_template(clips, self.distance)
        except NoHead as error:
            raise ConfigError(f"no head template can be made: {error}") from None


class SmplxHead:
    """The head of SMPL-X, where its licensed file is at hand.

    Args:
        model: SMPLX_NEUTRAL.npz, or the folder that holds it; from https://smpl-x.is.tue.mpg.de, free for research
            after registration.
        distance: usual distance of a head from the camera, heights of the frame.
    """

    reads_clips = False

    def __init__(self, *, model: str | None = None, distance: Positive = 2.0) -> None:
        if model is None:
            raise ConfigError(
                "template=smplx wants a body model: template.model=PATH of SMPLX_NEUTRAL.npz or of its folder; get it "
                f"at {WHERE}, free for research after registration. template=linear needs none"
            )
        self.model, self.distance = model, distance

    def make(self, clips: Sequence[SeenFace]) -> HeadTemplate:
        """See `HeadMaker`."""
        try:
            return smplx_template(load_body_model(self.model), self.distance)
        except BodyModelError as error:
            raise ConfigError(f"template.model: {error}") from None
