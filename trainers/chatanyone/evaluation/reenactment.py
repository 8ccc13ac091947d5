"""Measuring a renderer that moves a picture by the frames of a clip: ChatAnyone's (CA-17, table 1)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from datamodules.clip import BadSample
from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index
from models.chatanyone.grid import Heads, landmark_heads
from models.chatanyone.puppet import Frames, Puppet
from models.chatanyone.renderer import FrameMotion
from models.human.keypoints import HANDS
from preprocessing.features.chatanyone import Seer
from preprocessing.features.writer import Frames as Fitting
from pretrained.exports import Export
from settings import get_logger
from settings.device import device_of
from trainers.chatanyone.cast import Movers, Named, moving_cast
from trainers.chatanyone.system import RenderedOptions
from trainers.evaluation import videos
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.comparison import spread, verdict
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.tables import meanings
from trainers.evaluation.videos import Meters, Shot, read_shots

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "refined": "faces refined",
    "without_hands": "no hands drawn in",
    "source": "copied source frame",
}
FIGURES: Final = videos.FIGURES
DECIDING: Final = ("psnr_mouth_hands", "ssim")
PAPER: Final[list[dict[str, Any]]] = [
    {
        "system": "ChatAnyone", "psnr": 24.88, "ssim": 0.831, "lpips": 0.126, "fid": 5.505, "fvd": 33.35,
        "csim": 0.654,
    },
]  # fmt: skip
PAPER_SOURCE: Final = "ChatAnyone, table 1, 512 x 768"
DIFFERENT: Final = (
    "The paper's figures are of its own data and of 512 x 768 pixels; they may not be compared with these."
)
_HEAD: Final = "head.npz"


def measure_rendering(export: Export, options: RenderedOptions, folder: Path) -> dict[str, Any]:
    """Figures of the renderer for `trainers.evaluate`: each clip rebuilt from its first frame with a head.

    Beside it: the same with its faces refined, where `options.refine` is given, without pictures of hands, and the
    source frame held.

    Raises:
        ConfigError: no clips with video and pose in the splits, or networks that do not go together.
    """
    named = Named(refine=options.refine, template=options.template)
    movers = moving_cast(export, named, device_of(options.device))
    pretrained = Pretrained(options.weights)
    if pretrained.missing:
        logger.info("left out, for want of weights: %s", ", ".join(pretrained.missing))
    how: FitMode = export.settings.get("data", {}).get("video_fit", "crop")
    keys = ("video.mp4", "pose.npz", *([_HEAD] if movers.template is not None else []))
    splits = {}
    for split in present_splits(Index.load(options.shards), options, keys, "video, pose, head.npz of its template"):
        started = time.perf_counter()
        splits[split] = _measure_split(movers, options, split, pretrained, how, keys)
        logger.info("%s: %d clips, %.0f s", split, splits[split]["clips"], time.perf_counter() - started)
    return {
        "figures": meanings({**FIGURES, **pretrained.figures}),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


class Rebuilt:
    """A clip that is rebuilt from its first frame with a head.

    Args:
        movers: the networks.
        shot: the clip.
        heads: in its frames.
        batch: frames at once.
    """

    def __init__(self, movers: Movers, shot: Shot, heads: Heads, batch: int):
        assert shot.pose is not None
        self.shot, self.heads, self.batch = shot, heads, batch
        self.first = int(heads.seen.nonzero()[0, 0])
        image = shot.frames[self.first].float() / 255
        self.puppet = Puppet(movers.renderer, movers.refiner, image, heads.points[self.first].float())

    @torch.no_grad()
    def frames(self, hands: bool = True, refined: bool = False) -> Tensor:
        """All of them (T, 3, H, W) in [0, 1].

        Args:
            hands: draw hands in, where the renderer does.
            refined: with faces made anew.
        """
        assert self.shot.pose is not None
        puppet, output = self.puppet, []
        for rows in torch.arange(len(self.shot.frames)).split(self.batch):
            pictures = self.shot.frames[rows].to(puppet.device).contiguous().float() / 255
            points = self.heads.points[rows].float().to(puppet.device)
            seen = puppet.renderer.encode_motion(pictures, points)
            drawn = self.shot.pose[rows][:, HANDS].to(puppet.device)
            if not hands:
                drawn = torch.zeros_like(drawn)
            some = Frames(points[None], FrameMotion(*(part[None] for part in seen)), drawn[None])
            made = puppet.render(some)
            output.append((puppet.refine(made, some) if refined else made)[0].float().cpu())
        return torch.cat(output)


def _measure_split(
    movers: Movers, options: RenderedOptions, split: str, pretrained: Pretrained, how: FitMode, keys: tuple[str, ...]
) -> dict[str, Any]:
    renderer, size = movers.renderer, (movers.renderer.height, movers.renderer.width)
    answers: dict[str, Callable[[Rebuilt], Tensor]] = {"model": lambda clip: clip.frames()}
    if movers.refiner is not None:
        answers["refined"] = lambda clip: clip.frames(refined=True)
    if renderer.injections is not None:
        answers["without_hands"] = lambda clip: clip.frames(hands=False)
    answers["source"] = lambda clip: clip.shot.frames[clip.first].expand_as(clip.shot.frames)
    answers = {name: answer for name, answer in answers.items() if options.wants(name)}
    meters = {name: Meters(pretrained, FIGURES) for name in answers}
    ids = ids_of(Index.load(options.shards), split, keys, options.clips)
    shots, skipped = [], {}
    options.progress.expect(len(ids))
    further = tuple(key for key in keys if key == _HEAD)
    for shot in read_shots(options.shards, ids, options.seconds, size, how, further=further):
        try:
            clip = Rebuilt(movers, shot, _heads(movers, shot, Fitting(size, how)), options.batch)
        except BadSample as error:
            skipped[shot.info.id] = error.reason
            logger.warning("left out: %s", error)
            continue
        for name, answer in answers.items():
            meters[name].update(answer(clip), shot)
        shots.append((shot.info.id, len(shot.frames) / shot.info.fps, shot.info.speaker))
        options.progress.advance(1, "clips rebuilt")
    systems = {name: spread([meter.compute()]) for name, meter in meters.items()} if shots else {}
    deciding = [name for name in DECIDING if name in systems.get("model", {})]
    rivals: dict[str, Any] = {name: systems[name] for name in ("model", "source") if name in systems}
    return {
        "clips": len(shots),
        "ids": [one[0] for one in shots],
        "skipped": skipped,
        "seconds": float(sum(one[1] for one in shots)),
        "speakers": len({one[2] for one in shots}),
        "seen_in_training": split == "train",
        "systems": systems,
        "labels": {name: LABELS[name] for name in systems},
        "verdicts": {name: verdict(rivals, name, FIGURES[name], LABELS, len(shots)) for name in deciding},
    }


def _heads(movers: Movers, shot: Shot, fitting: Fitting) -> Heads:
    """The heads in a clip's frames. Raises BadSample where there is none."""
    assert shot.pose is not None
    if movers.template is None:
        found = landmark_heads(shot.pose)
    else:
        found = Seer(movers.renderer, movers.template, fitting).heads(shot.info, shot.further)
    count = len(shot.frames)
    found = Heads(found.points[:count], found.seen[:count])
    if not found.seen.any():
        raise BadSample("no frame shows a head", shot.info.id)
    return found
