"""MMGT: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass
from typing import Final, Literal

from settings.ranges import Count, NonNegative
from trainers.animation.options import AnimateOptions, Layers, Person, Sampling, Speech
from trainers.evaluation.options import Beside, ByNetwork, EvaluateOptions, Neighbours, OfVideos, Sampled
from trainers.record import Record, Tool
from trainers.video.options import Driven, Guided, Remade, Rendered


@dataclass(frozen=True, kw_only=True)
class SMGAOptions(Sampling, Layers, Person, Speech, AnimateOptions):
    """A picture or a first pose, and speech, to a pose video with motion masks (MMGT-1, MMGT-22: audio only)."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions(Guided, Driven, Rendered, Layers, Person, Speech, AnimateOptions):
    """A picture that speaks and gestures, by latent video diffusion (MMGT-1, MMGT-22).

    Speech alone drives it by the poses and masks that SMGA makes of it; driving poses alone, or both together.
    Classifiers of its latent space may guide it (PH-15 .. PH-18).

    Args:
        smga: the network of mmgt.smga that makes poses of the speech, where no driving poses are given (a run folder,
            saved network or hub name).
        guidance_audio: weight of guidance by the speech, 1 is none; left out, by the quality.
    """

    smga: str | None = None
    guidance_audio: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class GestureOptions(Neighbours, ByNetwork, Sampled, EvaluateOptions):
    """Poses, beside held, mean and neighbours' poses."""


@dataclass(frozen=True, kw_only=True)
class VideoFigureOptions(Remade, Beside, OfVideos, Neighbours, ByNetwork, EvaluateOptions):
    """Videos from a clip's first frame, beside the frame held, the autoencoder's own, and other speech (MMGT-23).

    Args:
        drive: what drives the videos (MMGT-22): "both" is true poses and speech, "pose" true poses alone, "audio" the
            speech and the poses that `smga` makes of it, "speech_only" speech with neither poses nor moving masks,
            which shows what of the lips the speech moves; left out, what the stage was trained for.
        smga: the network of mmgt.smga that makes poses of the speech, for drive=audio.
        guidance_pose: weight of guidance by the poses, 1 is none; left out, the network's own.
        guidance_audio: by the speech.
        overlap: frames that a window shares with the one before; left out, a quarter of the window.
    """

    drive: Literal["both", "pose", "audio", "speech_only"] | None = None
    smga: str | None = None
    guidance_pose: NonNegative | None = None
    guidance_audio: NonNegative | None = None
    overlap: Count | None = None


_VIDEO_ANIMATOR: Final = Tool("trainers.mmgt.video_animation:VideoAnimator", VideoOptions)
_VIDEO_EVALUATOR: Final = Tool("trainers.mmgt.evaluation.videos:measure_videos", VideoFigureOptions)
STAGES: Final = {
    "mmgt.smga": Record(
        "trainers.mmgt.smga:SMGAStage",
        animator=Tool("trainers.mmgt.animation:SMGAAnimator", SMGAOptions),
        evaluator=Tool(
            "trainers.mmgt.evaluation.gestures:measure_gestures", GestureOptions, measured_by="human.pose_autoencoder"
        ),
    ),
    "mmgt.video_pose": Record(
        "trainers.mmgt.video_pose:VideoPoseStage", animator=_VIDEO_ANIMATOR, evaluator=_VIDEO_EVALUATOR
    ),
    "mmgt.video_audio": Record(
        "trainers.mmgt.video_audio:VideoAudioStage", animator=_VIDEO_ANIMATOR, evaluator=_VIDEO_EVALUATOR
    ),
}
