"""PAHA: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from settings.ranges import Count, Fraction, NonNegative, Positive
from trainers.animation.options import AnimateOptions, Layers, Speech
from trainers.evaluation.options import Beside, ByNetwork, EvaluateOptions, OfVideos
from trainers.record import Record, Tool
from trainers.video.options import Classifiers, Guide, Guided, Remade, Rendered


@dataclass(frozen=True, kw_only=True)
class UniVDMOptions(Guided, Rendered, Layers, Speech, AnimateOptions):
    """A picture that speaks and gestures, by one network (PH-1).

    Args:
        image: picture of the person.
        pose: where the person in the picture is, instead of looking for them (pose.npz of a clip, or DWPose's);
            guidance has to know where the face is.
        first_frame: "picture" begins with the picture itself, "any" with whatever fits the speech (PH-2).
        guidance_audio: weight of guidance by the speech, 1 is none; left out, by the quality.
    """

    image: Path | None = None
    pose: Path | None = None
    first_frame: Literal["picture", "any"] = "picture"
    guidance_audio: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class UniVDMFigureOptions(Remade, Classifiers, Beside, OfVideos, ByNetwork, EvaluateOptions):
    """Videos from a clip's first frame and speech, without guidance and with it (PH-18, PH-20, PH-21).

    Args:
        guides: kinds of guidance that get a row, beside none, which always has one; left out, all for which the
            classifiers are given.
        judge_face: a paha.pce_face that says how well generated faces suit their speech, trained with another seed than
            the one that guides; left out, the one that guides.
        judge_nonface: likewise of the rest.
        judge_levels: noise levels at which they are asked, as shares of all; the score is the mean.
        poses: what reads poses off the videos: "reader" is a small network fitted to training frames of the shards, for
            tiny or drawn people; "mediapipe" and "dwpose" are those of preprocessing, for frames as large as a paper's
            (DWPose from weights.dwpose).
        first_frame: "picture" begins with the clip's first frame, "any" with whatever fits the speech (PH-2).
        guidance_audio: weight of guidance by the speech, 1 is none; left out, the network's own.
        pose_steps: of fitting the network that reads poses; about a minute on a core.
    """

    guides: list[Guide] | None = None
    judge_face: str | None = None
    judge_nonface: str | None = None
    judge_levels: list[Fraction] = field(default_factory=lambda: [0.05, 0.15, 0.25, 0.35, 0.45])
    poses: Literal["reader", "mediapipe", "dwpose"] = "reader"
    first_frame: Literal["picture", "any"] = "picture"
    guidance_audio: NonNegative | None = None
    pose_steps: Count = 600

    def rows(self) -> list[Guide]:
        """The kinds of guidance that get a row. Raises ConfigError for classifiers that one of them lacks."""
        guides: list[Guide] = ["sg", "dg"]
        if self.guides is None:
            return guides[: len(self.given)]
        for guide in self.guides:
            self.check_guide(guide, f"guides=[{guide}]")
        return [guide for guide in guides if guide in self.guides]


@dataclass(frozen=True, kw_only=True)
class PairFigureOptions(EvaluateOptions):
    """What a classifier tells apart on held-out pairs: filmed from generated, right from wrong sound (PH-10 .. PH-14).

    Args:
        length: frames of picture and of sound; left out, the least that it was trained with, or as many as all pairs
            have.
        shifts: seconds that wrong sound is away.
        draws: noise levels that are drawn of each quarter, for each seed.
        clips: at most so many pairs of a split, taken evenly; none is all.
    """

    length: Count | None = None
    shifts: list[Positive] = field(default_factory=lambda: [0.2, 0.5, 1.0, 2.0])
    draws: Count = 4
    clips: Count | None = 48


_PAIR_EVALUATOR: Final = Tool("trainers.paha.evaluation.pairs:measure_pairs", PairFigureOptions)
STAGES: Final = {
    "paha.univdm": Record(
        "trainers.paha.univdm:UniVDMStage",
        animator=Tool("trainers.paha.animation:UniVDMAnimator", UniVDMOptions),
        evaluator=Tool(
            "trainers.paha.evaluation.videos:measure_videos",
            UniVDMFigureOptions,
            measured_by="human.pose_autoencoder",
        ),
    ),
    "paha.pce_face": Record("trainers.paha.pce:PCEFaceStage", evaluator=_PAIR_EVALUATOR),
    "paha.pce_nonface": Record("trainers.paha.pce:PCENonfaceStage", evaluator=_PAIR_EVALUATOR),
}
