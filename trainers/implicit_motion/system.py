"""Implicit motion: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainers.animation.options import AnimateOptions, Frames, Person, Sampling, Speech
from trainers.evaluation.options import Beside, EvaluateOptions, OfVideos, Sampled
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class ReenactOptions(Frames, Person, Speech, AnimateOptions):
    """A picture that moves as the person in a driving video does.

    Args:
        video: a driving video whose movement the picture takes over.
        relative: take over how the driving video departs from its own first frame, not its poses themselves.
    """

    video: Path | None = None
    relative: bool = False


@dataclass(frozen=True, kw_only=True)
class SpeakOptions(Sampling, Frames, Person, Speech, AnimateOptions):
    """A picture that speaks.

    Args:
        base: the base network that the network was trained on; left out, as its run says.
    """

    base: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReenactmentOptions(OfVideos, EvaluateOptions):
    """Rebuilt frames, beside the source frame held."""


@dataclass(frozen=True, kw_only=True)
class SpeechMotionOptions(Beside, OfVideos, Sampled, EvaluateOptions):
    """Motion features, and the videos that they make.

    Args:
        videos: render and measure videos too, which takes time; weights ask for it as well.
        base: the base network that videos are rendered with; left out, as the run says.
    """

    videos: bool = False
    base: str | None = None


STAGES: Final = {
    "implicit_motion.base": Record(
        "trainers.implicit_motion.base:BaseStage",
        animator=Tool("trainers.implicit_motion.animation:Reenactor", ReenactOptions),
        evaluator=Tool("trainers.implicit_motion.evaluation.reenactment:measure_reenactment", ReenactmentOptions),
    ),
    "implicit_motion.motion": Record(
        "trainers.implicit_motion.motion:MotionStage",
        animator=Tool("trainers.implicit_motion.animation:MotionAnimator", SpeakOptions),
        evaluator=Tool("trainers.implicit_motion.evaluation.speech_motion:measure_speech_motion", SpeechMotionOptions),
    ),
}
