"""`chatanyone.npz`: what moves every frame of a clip, as a trained renderer sees it (CA-1, CA-2, CA-9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import BadSample, ClipInfo
from datamodules.media.fitting import FitMode
from models.chatanyone.grid import Heads, landmark_heads
from models.chatanyone.head import HeadTemplate
from models.chatanyone.renderer import FrameMotion, Renderer
from preprocessing.features.writer import Frames, Loaded, trained_fit
from preprocessing.head.points import in_frames
from pretrained.exports import find, load_frozen
from settings import ConfigError


class ChatAnyoneWriter:
    """What a trained renderer of chatanyone sees in each frame; its run folder or its saved network (export/).

    A renderer that was trained with a head template wants the clips' coefficients of that one (`writer=head`).

    Args:
        template: folder or hub name of the head template; left out, the one of the renderer's run.
    """

    key: ClassVar[str] = "chatanyone.npz"
    reads: ClassVar[tuple[str, ...]] = ("video.mp4", "pose.npz")
    also: ClassVar[tuple[str, ...]] = ("head.npz",)
    batch: ClassVar[int] = 32

    def __init__(self, *, template: str | None = None) -> None:
        self.template = template

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """See `Writer`; oblong frames are fitted as the network's own run fitted them where nobody says."""
        renderer, sha256 = load_frozen(Renderer, "network", network, "chatanyone's renderer")
        export = find(network, "network")
        if export.stage not in ("", "chatanyone.renderer"):
            raise ConfigError(f"network={network} is a network of {export.stage}; one of chatanyone.renderer is needed")
        if renderer.head_points != HeadTemplate().points:
            raise ConfigError(
                f"network={network} moves heads by {renderer.head_points} key points, {self.key} holds "
                f"{HeadTemplate().points}"
            )
        fit = video_fit or trained_fit(network)
        frames = Frames((renderer.height, renderer.width), fit)
        seer = Seer(renderer, self._template(renderer, export.settings), frames)
        return Loaded(renderer, sha256, frames, partial(features_of, seer), {"key": self.key, "video_fit": fit})

    def _template(self, renderer: Renderer, settings: Mapping[str, Any]) -> HeadTemplate | None:
        """The template that the renderer was trained with; None for landmarks of faces."""
        wanted = renderer.template_sha256
        if not wanted:
            if self.template is not None:
                raise ConfigError(
                    f"writer.template={self.template}: the network was trained with landmarks of faces, not with a "
                    "head template; leave it out"
                )
            return None
        name = self.template or settings.get("stage", {}).get("template")
        if name is None:
            raise ConfigError(
                "the network was trained with a head template, and does not say where it is: give writer.template="
                "FOLDER (made by `python -m preprocessing.head`)"
            )
        template, found = load_frozen(HeadTemplate, "writer.template", name, "a head template")
        if found != wanted:
            raise ConfigError(
                f"writer.template={name} is another head template than the network was trained with (its hash begins "
                f"with {found[:16]}, wanted is {wanted[:16]})"
            )
        return template


@dataclass(frozen=True)
class Seer:
    """A renderer, and what it needs to see heads.

    Attributes:
        renderer: on its device.
        template: the head template that it was trained with, on the CPU; None for landmarks.
        frames: how frames come to it.
    """

    renderer: Renderer
    template: HeadTemplate | None
    frames: Frames

    def heads(self, info: ClipInfo, values: Mapping[str, Any]) -> Heads:
        """The heads of a clip in frames as they come. Raises BadSample."""
        fit = self.frames.fit(info)
        if self.template is None:
            pose = values["pose.npz"]
            joined = np.concatenate([fit.moved(pose["keypoints"]), pose["scores"][..., None]], -1)
            return landmark_heads(torch.from_numpy(joined.astype(np.float32)))
        if "head.npz" not in values:
            raise BadSample("head.npz is missing (`python -m preprocessing.features writer=head`)", info.id)
        head = values["head.npz"]
        if head["network"].tobytes().hex() != self.renderer.template_sha256:
            raise BadSample("head.npz: coefficients of another head template than the renderer's", info.id)
        expression, pose, identity = (torch.from_numpy(head[name]) for name in ("expression", "pose", "identity"))
        points = self.template(expression, pose, identity.expand(len(pose), -1))
        return Heads(in_frames(points, info, fit), torch.from_numpy(head["error"]) >= 0)


@torch.no_grad()
def features_of(seer: Seer, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[Tensor]) -> dict[str, Any]:
    """All arrays of `chatanyone.npz` but the network's hash. Raises BadSample for a clip without any head."""
    renderer, (heads, seen) = seer.renderer, seer.heads(info, values)
    if not seen.any():
        raise BadSample("no frame shows a head", info.id)
    first, at = int(seen.nonzero()[0, 0]), 0
    moves: list[FrameMotion] = []
    appearance = torch.empty(0)
    for part in frames:
        pictures = part.contiguous().float() / 255
        points = heads[at : at + len(part)].float().to(part.device)
        moves.append(FrameMotion(*(each.float().cpu() for each in renderer.encode_motion(pictures, points))))
        if at <= first < at + len(part):
            one = slice(first - at, first - at + 1)
            appearance = renderer.encode_source(pictures[one], points[one]).appearance[0].float().cpu()
        at += len(part)
    offset, movement, scale, place = (torch.cat(each) for each in zip(*moves, strict=True))
    arrays = {
        "head": heads, "seen": seen.float(), "offset": offset, "movement": movement.flatten(1), "scale": scale,
        "place": place, "appearance": appearance,
    }  # fmt: skip
    bars = seer.frames.mode == "pad"
    frame = np.array([renderer.height, renderer.width, bars], np.int32)
    return {name: value.numpy().astype(np.float32) for name, value in arrays.items()} | {"frame": frame}
