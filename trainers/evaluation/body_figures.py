"""Figures of people who speak and act: hands and arms, eyes, whose face it is by how much of them is seen (VA-17)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor

from datamodules.clip import ClipInfo
from metrics.regions import part_boxes
from models.human.aligned_face import five_points
from models.human.keypoints import LEFT_ELBOW, LEFT_HAND, LEFT_WRIST, RIGHT_ELBOW, RIGHT_HAND, RIGHT_WRIST
from trainers.evaluation.comparison import Figure
from trainers.evaluation.eye_reader import TALL, EyeReader
from trainers.evaluation.face_judge import FaceJudge
from trainers.evaluation.faces import EVERY
from trainers.evaluation.per_clip import PerClip, mean_over_clips
from trainers.evaluation.retrieval import SPACED, own_frame_retrieval
from trainers.evaluation.videos import DILATION, Shot

SCALES: Final = ("head", "half", "whole")
ARMS: Final = (LEFT_HAND, RIGHT_HAND, slice(2, 5), slice(5, 8))
"""Hands, and the arms from shoulder to wrist."""
_ANKLES: Final = (10, 13)
_FOREARMS: Final = (RIGHT_ELBOW, RIGHT_WRIST, LEFT_ELBOW, LEFT_WRIST)
_CHANCE: Final = f"{1 / SPACED:.3f}"
FIGURES: Final = {
    "psnr_hands_arms": Figure("PSNR, hands and arms", "higher", "dB inside the true boxes of hands and arms"),
    "retrieval_hands_arms": Figure(
        "Retrieval, hands and arms",
        "higher",
        f"share of frames nearer to their own true frame than to the others of {SPACED} spread over the clip, inside "
        f"the true boxes of hands and arms; chance is {_CHANCE}",
    ),
    "eye_correlation": Figure(
        "Eyes r",
        "higher",
        "Pearson correlation of the eyes' height over their width that a network fitted to training frames reads off "
        f"the video with the true one's, mean over clips whose eyes are {TALL:g} pixels high; 'truth' is the most that "
        "can be reached",
    ),
}


def scale_of(info: ClipInfo, pose: Tensor) -> str:
    """How much of a person is seen (VA-16): "head", "half" or "whole".

    A clip that says so itself (`extra["scale"]`) is believed; else it is whole where ankles are seen in half of the
    frames or more, half where elbows or wrists are, and a head else.

    Args:
        info: its clip.json.
        pose: (T, 134, 3).
    """
    said = info.extra.get("scale")
    if said in SCALES:
        return str(said)

    def seen(points: tuple[int, ...]) -> bool:
        return bool((pose[:, points, 2] > 0).any(1).float().mean() >= 0.5)

    return "whole" if seen(_ANKLES) else "half" if seen(_FOREARMS) else "head"


@dataclass
class _Notes:
    """What is noted of one row and seed, clip by clip."""

    psnr: PerClip
    likeness: dict[str, PerClip]
    eyes: list[float] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)


class BodyFigures:
    """Notes of every video that is made (`trainers.evaluation.video_rows.Watch`), and figures of them.

    Args:
        eyes: reads eyes; None where none are large enough.
        judges: networks that tell people apart, by the figure that they are for: "likeness", "csim".
        followed: gives the poses (T, 134, 3) of the person in a video, by row, seed, clip by number and the true clip:
            where its faces are looked for.
    """

    def __init__(
        self,
        eyes: EyeReader | None,
        judges: Mapping[str, Any],
        followed: Callable[[str, int, int, Shot], Tensor],
    ):
        self.eyes, self.judges, self.followed = eyes, dict(judges), followed
        self.notes: dict[tuple[str, int], _Notes] = {}

    @property
    def figures(self) -> dict[str, Figure]:
        """Title and meaning of each figure."""
        found = {name: one for name, one in FIGURES.items() if name != "eye_correlation" or self.eyes is not None}
        for name, network in self.judges.items():
            title = "CSIM" if name == "csim" else "Likeness"
            if not network.source.standard and name == "csim":
                title += " (other weights)"
            meaning = f"cosine of embeddings of the face and of the first frame's, by {network.source}"
            if name != "csim":
                found[name] = Figure(title, "higher", meaning)
            for scale in SCALES:
                found[f"{name}_{scale}"] = Figure(f"{title}, {scale}", "higher", f"{meaning}; of clips of that scale")
        return found

    def add(self, row: str, seed: int, number: int, frames: Tensor, shot: Shot) -> None:
        """Note a clip of a row: its frames (T, 3, H, W), and the true clip with its pose."""
        assert shot.pose is not None
        if (row, seed) not in self.notes:
            self.notes[row, seed] = self._fresh()
        notes, pose = self.notes[row, seed], shot.pose
        notes.psnr.update(frames, shot.frames, part_boxes(pose, ARMS))
        notes.psnr.end_clip()
        hits = own_frame_retrieval(frames, shot.frames, pose, parts=ARMS)
        notes.hits.append(float(hits.mean()) if len(hits) else math.nan)
        notes.asked.append(len(hits))
        notes.eyes.append(math.nan if self.eyes is None else self.eyes.correlation(frames, pose))
        scale, at = scale_of(shot.info, pose), self.followed(row, seed, number, shot)
        points, reference = five_points(at[::EVERY]), five_points(pose[:1])
        for name, meter in notes.likeness.items():
            if name.rpartition("_")[2] not in (set(SCALES) - {scale}):
                meter.update(frames[::EVERY], shot.frames[:1], points, reference)
            meter.end_clip()

    def of(self, row: str, seed: int) -> dict[str, float]:
        """What was noted of a row, as figures; the truth has those in which it has a value of its own."""
        notes = self.notes[row, seed]
        found = {name: meter.compute() for name, meter in notes.likeness.items()}
        found["eye_correlation"] = mean_over_clips(notes.eyes)
        if row != "truth":
            found["psnr_hands_arms"] = notes.psnr.compute()
            found["retrieval_hands_arms"] = mean_over_clips(notes.hits, notes.asked)
        return {name: value for name, value in found.items() if value == value and name in self.figures}

    def _fresh(self) -> _Notes:
        import metrics

        names = [(name, part) for name in self.judges for part in ("", *SCALES)]
        likeness = {
            f"{name}_{part}" if part else name: PerClip(metrics.CSIM(self.judges[name]))
            for name, part in names
            if part or name != "csim"
        }
        return _Notes(PerClip(metrics.RegionPSNR(DILATION)), likeness)


def held(pose: Tensor) -> Tensor:
    """A clip's first pose (T, 134, 3) in all of its frames."""
    return pose[:1].expand_as(pose)


def judges_of(arcface: Any | None, judge: FaceJudge | None) -> dict[str, Any]:
    """The networks that are there, by the figure that each is for."""
    return {name: one for name, one in (("csim", arcface), ("likeness", judge)) if one is not None}


def conditions(networks: Mapping[str, Any], sha256: str | None) -> list[str]:
    """Which of the judges are the network that the videos were conditioned on, by its hash: no judges of likeness."""
    return [name for name, network in networks.items() if sha256 and network.source.sha256 == sha256]
