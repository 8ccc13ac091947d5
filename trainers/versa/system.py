"""VersaAnimator: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field

from settings.ranges import Count, NonNegative, Positive
from trainers.animation.options import AnimateOptions, Layers, Person, Sampling, Speech
from trainers.evaluation.options import Beside, ByNetwork, EvaluateOptions, Neighbours, OfVideos, Sampled
from trainers.record import Record, Tool
from trainers.video.options import Driven, Remade, Rendered

Bucket = Annotated[float, Field(ge=0, le=255)]
Drive = Literal["both", "pose", "audio", "speech_only"]


@dataclass(frozen=True, kw_only=True)
class Acted:
    """What a person does beside speaking.

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
class BodyOptions(Acted, Sampling, Layers, Person, Speech, AnimateOptions):
    """Text and speech to a pose video of the whole body."""


@dataclass(frozen=True, kw_only=True)
class FaceGuidance:
    """Weights of guidance beside those of picture and poses, 1 is none; left out, the network's own.

    Args:
        guidance_first: by the picture in the first frame, from where it goes over to guidance_reference.
        guidance_identity: by whose face it is; left out of the network, too, it goes with the picture, frame by frame.
        guidance_audio: by the speech, likewise.
        guidance_expression: by the expression, likewise.
        guidance_blink: by how far eyes are open, likewise.
    """

    guidance_first: NonNegative | None = None
    guidance_identity: NonNegative | None = None
    guidance_audio: NonNegative | None = None
    guidance_expression: NonNegative | None = None
    guidance_blink: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class VersaVideoOptions(FaceGuidance, Acted, Driven, Rendered, Layers, Person, Speech, AnimateOptions):
    """A picture that speaks and acts as it is told, by pose-guided video diffusion (VA-11 .. VA-16).

    Poses come of text and speech by the motion half, or of a file or a video of somebody.

    Args:
        motion: the network of versa.audio_motion or versa.text_motion that makes poses of text and speech, where no
            driving poses are given (a run folder, saved network or hub name).
        identity: what tells whose face the picture shows: "colours", which needs no weights, a file of ArcFace's
            format, a folder that holds one or a hub name, as preprocessing was told; left out, as the run says
            (`stage.identity`), else "colours"; "off" leaves it to the picture.
        expression: label of the face, such as happy, or "0-2 s: happy" for a span; may be given several times; left
            out, the network's choice.
        blink: height of the eyes over their width, some 0.3 open and less than 0.15 shut, or "1-1.2 s: 0.05" for a
            span; "driving" takes it from the eyes of the driving poses; left out, the network's choice.
        motion_bucket: how much moves, as Stable Video Diffusion was told, 0 to 255; left out, the network's own.
    """

    motion: str | None = None
    identity: str | None = None
    expression: list[str] | None = None
    blink: list[str] | None = None
    motion_bucket: Bucket | None = None


@dataclass(frozen=True, kw_only=True)
class VersaVideoFigureOptions(Remade, FaceGuidance, Beside, OfVideos, EvaluateOptions):
    """Videos from a clip's first frame, beside the frame held, the autoencoder's own, other speech and eyes (VA-17).

    Args:
        drive: what drives the videos: "both" is true poses, speech, expression and eyes, "pose" true poses alone,
            "audio" the speech and the poses that `motion` makes of it, "speech_only" speech without poses; whose face
            it is comes from the first frame; left out, what the network was trained for.
        motion: the network of versa.audio_motion that makes poses of the speech, for drive=audio.
        motions: others of that stage, each for a row of its own, such as ablations: {name: run}.
        bank: a token2pose bank, for drive=audio; there is a row without it then, too.
        tokenizer: the motion tokenizer, where it is not where the run of `motion` says.
        identity: what tells whose face the first frame shows, as in `animate`; left out, identity.npz of the shards
            where the network's own face network made it, else that network as the run names it; "off" leaves it to the
            frame.
        guidance_pose: weight of guidance by the poses, 1 is none; left out, the network's own.
        overlap: frames that a window shares with the one before; left out, a quarter of the window.
    """

    drive: Drive | None = None
    motion: str | None = None
    motions: dict[str, str] = field(default_factory=dict)
    bank: str | None = None
    tokenizer: str | None = None
    identity: str | None = None
    guidance_pose: NonNegative | None = None
    overlap: Count | None = None


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
_VIDEO_ANIMATOR: Final = Tool("trainers.versa.video_animation:VersaVideoAnimator", VersaVideoOptions)
_VIDEO_EVALUATOR: Final = Tool("trainers.versa.evaluation.videos:measure_videos", VersaVideoFigureOptions)
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
    "versa.pose_video": Record(
        "trainers.versa.pose_video:PoseVideoStage", animator=_VIDEO_ANIMATOR, evaluator=_VIDEO_EVALUATOR
    ),
    "versa.audio_video": Record(
        "trainers.versa.audio_video:AudioVideoStage", animator=_VIDEO_ANIMATOR, evaluator=_VIDEO_EVALUATOR
    ),
}
