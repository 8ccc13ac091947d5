"""MMGT: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass
from typing import Final

from trainers.animation.options import AnimateOptions, Layers, Person, Sampling, Speech
from trainers.evaluation.options import ByNetwork, EvaluateOptions, Neighbours, Sampled
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class SMGAOptions(Sampling, Layers, Person, Speech, AnimateOptions):
    """A picture or a first pose, and speech, to a pose video with motion masks (MMGT-1, MMGT-22: audio only)."""


@dataclass(frozen=True, kw_only=True)
class GestureOptions(Neighbours, ByNetwork, Sampled, EvaluateOptions):
    """Poses, beside held, mean and neighbours' poses."""


STAGES: Final = {
    "mmgt.smga": Record(
        "trainers.mmgt.smga:SMGAStage",
        animator=Tool("trainers.mmgt.animation:SMGAAnimator", SMGAOptions),
        evaluator=Tool(
            "trainers.mmgt.evaluation.gestures:measure_gestures", GestureOptions, measured_by="human.pose_autoencoder"
        ),
    ),
    "mmgt.video_pose": Record("trainers.mmgt.video_pose:VideoPoseStage"),
    "mmgt.video_audio": Record("trainers.mmgt.video_audio:VideoAudioStage"),
}
