"""MMGT: its stages, and what animates and measures them, with their options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from settings.ranges import Count, NonNegative
from trainers.animation.options import AnimateOptions, Layers, Person, Sampling, Speech
from trainers.evaluation.options import ByNetwork, EvaluateOptions, Neighbours, Sampled
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class SMGAOptions(Sampling, Layers, Person, Speech, AnimateOptions):
    """A picture or a first pose, and speech, to a pose video with motion masks (MMGT-1, MMGT-22: audio only)."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions(Layers, Person, Speech, AnimateOptions):
    """A picture that speaks and gestures, by latent video diffusion (MMGT-1, MMGT-22).

    Speech alone drives it by the poses and masks that SMGA makes of it; driving poses alone, or both together.

    Args:
        smga: the network of mmgt.smga that makes poses of the speech, where no driving poses are given (a run folder,
            saved network or hub name).
        driving: poses to follow: a file of any system that makes them (pose.npz of a clip, OUT.npz of animate,
            DWPose's arrays) or a video of somebody; its sound goes along unless audio is given.
        retarget: bring the driving poses onto the person in the picture: their size, place and bones' lengths.
        autoencoder: the autoencoder whose latents the network knows; left out, as its run says.
        image_encoder: the image encoder, of networks that read one; left out, as the run says.
        quality: "draft" takes 6 steps without guidance, to see what will come; "final" the network's own.
        steps: denoising steps; left out, by the quality.
        guidance_reference: weight of guidance by the picture, 1 is none; left out, by the quality.
        guidance_pose: by the poses.
        guidance_audio: by the speech.
        overlap: frames that a window shares with the one before; left out, a quarter of the window.
        decode_batch: frames decoded at once.
    """

    smga: str | None = None
    driving: Path | None = None
    retarget: bool = True
    autoencoder: str | None = None
    image_encoder: str | None = None
    quality: Literal["draft", "final"] = "final"
    steps: Count | None = None
    guidance_reference: NonNegative | None = None
    guidance_pose: NonNegative | None = None
    guidance_audio: NonNegative | None = None
    overlap: Count | None = None
    decode_batch: Count = 8


@dataclass(frozen=True, kw_only=True)
class GestureOptions(Neighbours, ByNetwork, Sampled, EvaluateOptions):
    """Poses, beside held, mean and neighbours' poses."""


_VIDEO_ANIMATOR: Final = Tool("trainers.mmgt.video_animation:VideoAnimator", VideoOptions)
STAGES: Final = {
    "mmgt.smga": Record(
        "trainers.mmgt.smga:SMGAStage",
        animator=Tool("trainers.mmgt.animation:SMGAAnimator", SMGAOptions),
        evaluator=Tool(
            "trainers.mmgt.evaluation.gestures:measure_gestures", GestureOptions, measured_by="human.pose_autoencoder"
        ),
    ),
    "mmgt.video_pose": Record("trainers.mmgt.video_pose:VideoPoseStage", animator=_VIDEO_ANIMATOR),
    "mmgt.video_audio": Record("trainers.mmgt.video_audio:VideoAudioStage", animator=_VIDEO_ANIMATOR),
}
