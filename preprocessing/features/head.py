"""`head.npz`: expression and pose of the head in every frame, by a head template (CA-1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from datamodules.clip import BadSample, ClipInfo
from datamodules.media.fitting import FitMode
from models.chatanyone.head import HeadTemplate
from models.chatanyone.head_fit import NoHead, fit_head
from preprocessing.features.writer import Frames, Loaded
from preprocessing.head.points import seen_face
from pretrained.exports import load_frozen
from settings import ConfigError
from settings.ranges import Fraction


class HeadWriter:
    """A head template fitted to the face points of each clip: its folder or hub name.

    Args:
        max_missing: clips with a larger share of frames in which no face is seen from the front are left out.
    """

    key: ClassVar[str] = "head.npz"
    reads: ClassVar[tuple[str, ...]] = ("pose.npz",)
    batch: ClassVar[int] = 1

    def __init__(self, *, max_missing: Fraction = 0.5) -> None:
        self.max_missing = max_missing

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; there are no frames."""
        template, sha256 = load_frozen(HeadTemplate, "network", network, "a head template")
        if not template.made:
            raise ConfigError(
                f"network={network} is an empty head template; make one with `python -m preprocessing.head`"
            )
        made_of = {"key": self.key, "max_missing": self.max_missing}
        return Loaded(template, sha256, Frames(), partial(head_of, template, self.max_missing), made_of)


def head_of(
    template: HeadTemplate, max_missing: float, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]
) -> dict[str, Any]:
    """`expression` (T, E), `pose` (T, 6), `identity` (I,) and `error` (T,)."""
    face = seen_face(info, values["pose.npz"])
    try:
        found = fit_head(template, face.points, face.seen)
    except NoHead as error:
        raise BadSample(f"pose.npz: {error}", info.id) from None
    missing = float((found.error < 0).float().mean())
    if missing > max_missing:
        raise BadSample(
            f"pose.npz: no head from the front in {100 * missing:.0f} % of the frames (writer.max_missing allows "
            f"{100 * max_missing:.0f} %)",
            info.id,
        )
    return {name: value.numpy() for name, value in found._asdict().items()}
