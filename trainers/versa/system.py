"""VersaAnimator: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass
from typing import Final

from settings.ranges import Positive
from trainers.animation.options import AnimateOptions, Layers, Person, Sampling, Speech
from trainers.evaluation.options import Beside, ByNetwork, EvaluateOptions, Neighbours, Sampled
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class BodyOptions(Sampling, Layers, Person, Speech, AnimateOptions):
    """Text and speech to a pose video of the whole body.

    Args:
        text: what the person does, as "0-2 s: waves the right hand" for a span or without one for all of the time; may
            be given several times.
        seconds: length of the motion; left out, that of the audio, or the end of the last span of text.
        tokenizer: the motion tokenizer that the network was trained on; left out, as its run says.
        bank: a token2pose bank (`python -m preprocessing.bank`), for real poses with faces and hands; left out, the
            motion's joints are projected, and face and hands are the picture's own.
    """

    text: list[str] | None = None
    seconds: Positive | None = None
    tokenizer: str | None = None
    bank: str | None = None


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions(Neighbours, EvaluateOptions):
    """Motion through tokens, beside a PCA of as many bits."""


@dataclass(frozen=True, kw_only=True)
class ActingOptions(Sampled, EvaluateOptions):
    """Motion from text and speech.

    Args:
        tokenizer: the motion tokenizer of the network, where it is not where its run says (moved runs).
    """

    tokenizer: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextMotionOptions(ByNetwork, ActingOptions):
    """Motion from text, beside another's text and mean motion."""


@dataclass(frozen=True, kw_only=True)
class GesturingOptions(Beside, ActingOptions):
    """Motion from speech and text, beside another's speech."""


_ANIMATOR: Final = Tool("trainers.versa.animation:VersaAnimator", BodyOptions)
STAGES: Final = {
    "versa.tokenizer": Record(
        "trainers.versa.tokenizer:TokenizerStage",
        evaluator=Tool("trainers.versa.evaluation.tokenizer:measure_tokenizer", TokenizerOptions),
    ),
    "versa.evaluator": Record("trainers.versa.evaluator:EvaluatorStage"),
    "versa.text_motion": Record(
        "trainers.versa.text_motion:TextMotionStage",
        animator=_ANIMATOR,
        evaluator=Tool(
            "trainers.versa.evaluation.text_motion:measure_text_motion",
            TextMotionOptions,
            measured_by="versa.evaluator",
        ),
    ),
    "versa.audio_motion": Record(
        "trainers.versa.audio_motion:AudioMotionStage",
        animator=_ANIMATOR,
        evaluator=Tool("trainers.versa.evaluation.gesturing:measure_gesturing", GesturingOptions),
    ),
    "versa.pose_video": Record("trainers.versa.pose_video:PoseVideoStage"),
    "versa.audio_video": Record("trainers.versa.audio_video:AudioVideoStage"),
}
