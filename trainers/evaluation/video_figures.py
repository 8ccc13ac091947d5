"""The figures of one set of videos against the true ones (MMGT-23)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

from metrics.faces import has_box
from metrics.regions import part_boxes
from models.human.keypoints import FACE, HANDS
from trainers.evaluation import long_video, videos
from trainers.evaluation.comparison import Figure
from trainers.evaluation.faces import EVERY, box_around, face_crop
from trainers.evaluation.lip_reader import LipReader
from trainers.evaluation.long_video import Trace
from trainers.evaluation.per_clip import PerClip, mean_over_clips
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.retrieval import SPACED, own_frame_retrieval
from trainers.evaluation.videos import Meters, Shot

SYNCNET: Final = "syncnet"
FOREHEAD: Final = 0.35
"""Of the height from brows to chin: what lies above them in the box that SyncNet is shown (ours)."""
OWN: Final = {
    "lip_correlation": Figure(
        "Lips r",
        "higher",
        "Pearson correlation of the lip opening that a network fitted to training frames reads off the video with the "
        "true one's, mean over clips; 'truth' is what it reads off true frames, the most that can be reached",
    ),
    "retrieval": Figure(
        "Retrieval",
        "higher",
        f"share of frames nearer to their own true frame than to the others of {SPACED} spread over the clip, inside "
        f"the true boxes of mouth and hands; chance is {1 / SPACED:.3f}",
    ),
}
SYNC: Final = {
    "sync_c": Figure("Sync-C", "higher", "SyncNet's confidence: median less least distance over offsets (LSE-C)"),
    "sync_d": Figure("Sync-D", "lower", "SyncNet's least distance of lips and speech over offsets (LSE-D)"),
}
IDENTITY: Final = {
    "drift_identity": Figure(
        "Identity drift", "near", "how much CSIM to the first frame changes a minute, last third less first third"
    )
}
_OF_TRUTH: Final = ("lip_correlation", *SYNC, *long_video.FIGURES, *IDENTITY)
"""Figures that true videos have a value of their own in."""


@dataclass(frozen=True)
class Yardsticks:
    """What videos are measured with.

    Attributes:
        pretrained: networks whose files were given.
        reader: of lips.
        sync: `metrics.LipSync`; None without SyncNet's weights.
        follows: whether videos are driven by the true poses, so that heads are where the true ones are.
    """

    pretrained: Pretrained
    reader: LipReader
    sync: Any = None
    follows: bool = True

    @property
    def figures(self) -> dict[str, Figure]:
        """Title and meaning of each figure."""
        networks = self.pretrained.networks
        found = {**videos.FIGURES, **OWN, **self.pretrained.figures}
        if "alexnet" in networks:
            meter = self.pretrained.meters()["lpips"]
            found["hands_lpips"] = Figure(
                f"{meter.label}, hands", "lower", "the same on the square around the true hands of each clip"
            )
        if self.sync is not None:
            of = "" if self.sync.source.standard else " (other weights)"
            found |= {
                name: Figure(one.title + of, one.better, f"{one.meaning}, with {self.sync.source}")
                for name, one in SYNC.items()
            }
        found |= long_video.FIGURES
        return found | IDENTITY if "arcface" in networks else found


class Tally:
    """All figures of one answer, a clip at a time.

    Args:
        yardsticks: shared by all answers.
        is_truth: the answer is the true video: only figures in which that has a value of its own.
    """

    def __init__(self, yardsticks: Yardsticks, is_truth: bool = False):
        import metrics

        self.yardsticks, self.is_truth = yardsticks, is_truth
        self.meters = None if is_truth else Meters(yardsticks.pretrained)
        networks = yardsticks.pretrained.networks
        self.hands = None if is_truth or "alexnet" not in networks else PerClip(metrics.LPIPS(networks["alexnet"]))
        self.values: dict[str, list[float]] = {}
        self.weights: list[float] = []  # frames that retrieval was asked of

    def update(self, generated: Tensor, shot: Shot, sound: np.ndarray | None, seams: Sequence[int] | None) -> None:
        """Add a clip.

        Args:
            generated: (T, 3, H, W) uint8 or float in [0, 1].
            shot: the true clip, with its pose.
            sound: (N,) its speech at 16 kHz; None where it has none.
            seams: frames at which a window takes over; none where the answer was not made in windows.
        """
        assert shot.pose is not None
        own = {"lip_correlation": self.yardsticks.reader.correlation(generated, shot.pose)}
        own |= self._sync(generated, shot, sound)
        own |= self._long(generated, shot, seams)
        if self.meters is not None:
            self.meters.update(generated, shot, self.yardsticks.follows)
            hits = own_frame_retrieval(generated, shot.frames, shot.pose)
            own["retrieval"] = float(hits.mean()) if len(hits) else float("nan")
            self.weights.append(len(hits))
            self._add_hands(generated, shot)
        for name, value in own.items():
            self.values.setdefault(name, []).append(value)

    def compute(self) -> dict[str, float]:
        """Figure by name, each an `OverClips`; those that no clip shows are left out."""
        found: dict[str, float] = {} if self.meters is None else self.meters.compute()
        for name, values in self.values.items():
            found[name] = mean_over_clips(values, self.weights if name == "retrieval" else None)
        if self.hands is not None:
            found["hands_lpips"] = self.hands.compute()
        return {
            name: value for name, value in found.items() if value == value and (not self.is_truth or name in _OF_TRUTH)
        }

    def _add_hands(self, generated: Tensor, shot: Shot) -> None:
        assert shot.pose is not None
        if self.hands is None:
            return
        box = box_around(shot.pose[:, HANDS], shot.frames.shape[3] / shot.frames.shape[2])
        if box is not None:
            self.hands.update(face_crop(generated, box), face_crop(shot.frames, box))
        self.hands.end_clip()

    def _sync(self, generated: Tensor, shot: Shot, sound: np.ndarray | None) -> dict[str, float]:
        sync = self.yardsticks.sync
        if sync is None or sound is None:
            return {}
        assert shot.pose is not None
        boxes = face_boxes(shot.pose)
        if not self.yardsticks.follows:
            boxes = np.repeat(boxes[:1], len(boxes), 0)
        sync.reset()
        sync.update(generated, sound, shot.info.fps, boxes)
        found: Mapping[str, Tensor] = sync.compute()
        return {"sync_c": float(found["LSE-C"]), "sync_d": float(found["LSE-D"])}

    def _long(self, generated: Tensor, shot: Shot, seams: Sequence[int] | None) -> dict[str, float]:
        if not seams:  # one window
            return {}
        trace = Trace().add(generated)
        found = {"seam": trace.seam(seams), **trace.drift(shot.info.fps)}
        network = self.yardsticks.pretrained.networks.get("arcface")
        return found if network is None else {**found, "drift_identity": self._identity(generated, shot, network)}

    def _identity(self, generated: Tensor, shot: Shot, network: Any) -> float:
        import metrics
        from models.human.aligned_face import five_of

        some, finder = generated[::EVERY], self.yardsticks.pretrained.faces
        part = len(some) // 3
        if part == 0:
            return float("nan")
        points, first = (five_of(finder(frames)[..., :2]) for frames in (some, shot.frames[:1]))
        likeness = []
        for which in (slice(0, part), slice(len(some) - part, len(some))):
            csim = metrics.CSIM(network)
            csim.update(some[which], shot.frames[:1], points[which], first)
            likeness.append(float(csim.compute()))
        minutes = (len(some) - part) * EVERY / shot.info.fps / 60
        return (likeness[1] - likeness[0]) / minutes


def face_boxes(pose: Tensor) -> np.ndarray:
    """Boxes of faces (T, 4) with their foreheads, left, top, right, bottom; -1 where nothing of the face is seen.

    Args:
        pose: (T, 134, 3).
    """
    boxes = part_boxes(pose, (FACE,))[:, 0].numpy()
    there = has_box(boxes)
    boxes[there, 1] -= FOREHEAD * (boxes[there, 3] - boxes[there, 1])
    boxes[there, 1] = boxes[there, 1].clip(min=0)
    return boxes


def combined(figures: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Figures of several seeds with only those that every seed has, so that they can be averaged."""
    shared = [name for name in figures[0] if all(name in other for other in figures)]
    return [{name: one[name] for name in shared} for one in figures]
