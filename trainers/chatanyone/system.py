"""ChatAnyone: its stages, and what measures them, with their options."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from settings.ranges import Count, NonNegative, Seed
from trainers.animation.options import AnimateOptions, Layers, Person, Sampling, Speech
from trainers.evaluation.options import Beside, EvaluateOptions, OfVideos, Sampled
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class Performing:
    """What a picture's head is moved by, and how far.

    Args:
        renderer: the network of chatanyone.renderer that moves the picture (a run folder, saved network or hub name);
            left out, as the run of the body's motion says, which was trained on its features.
        refine: the network of chatanyone.face_refine that makes faces anew; left out, they are as the renderer makes
            them.
        template: the head template of all of them; left out, as their runs say.
        expression_range: how far expression goes, in usual spreads (CA-5); left out, the network chooses.
        pose_range: how far the head's pose goes, likewise.
        reference: a video of somebody, or its poses, whose style of expression is taken over (CA-6).
        sampler: how noise is taken away: "ddim", or "dpm", which needs fewer steps.
    """

    sampler: Literal["ddim", "dpm"] = "ddim"
    renderer: str | None = None
    refine: str | None = None
    template: str | None = None
    expression_range: NonNegative | None = None
    pose_range: NonNegative | None = None
    reference: Path | None = None


@dataclass(frozen=True, kw_only=True)
class PortraitOptions(Performing, Sampling, Layers, Person, Speech, AnimateOptions):
    """A picture of the upper body that speaks.

    Args:
        face: the network of chatanyone.face_motion that makes the head's motion of speech.
    """

    face: str | None = None


@dataclass(frozen=True, kw_only=True)
class HeadLiveOptions(Performing, Sampling, Person):
    """A picture whose head speaks while sound is still coming; its body stays as it is.

    Args:
        seed: of the noise; another seed gives another performance.
        half: half precision of renderer and refinement (float16 on a GPU, bfloat16 on a CPU).
    """

    seed: Seed = 0
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class LiveOptions(HeadLiveOptions):
    """A picture of the upper body that speaks while sound is still coming.

    Args:
        face: the network of chatanyone.face_motion that makes the head's motion of speech.
    """

    face: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReenactOptions(Person, Speech, AnimateOptions):
    """A picture that moves as the person in a driving video does, by the renderer and the refinement of faces alone.

    Args:
        driving: the driving video; its sound goes along.
        driving_pose: poses of its frames, as a clip's pose.npz, instead of looking for them.
        relative: take over how the driving video departs from its own first frame, for another person than the one in
            the picture.
        refine: the network of chatanyone.face_refine that makes faces anew; left out, they are as the renderer makes
            them.
        template: the head template that the renderer was trained with; left out, as its run says.
        batch: frames rendered at once.
    """

    driving: Path | None = None
    driving_pose: Path | None = None
    relative: bool = False
    refine: str | None = None
    template: str | None = None
    batch: Count = 16


@dataclass(frozen=True, kw_only=True)
class FaceMotionOptions(Beside, Sampled, EvaluateOptions):
    """Head motion from speech.

    Args:
        template: the head template that the clips' coefficients are of; left out, as the run's config says.
        ranges: settings of the dials of range that are measured, in usual spreads.
        sampler: how noise is taken away: "ddim", or "dpm", which needs fewer steps.
    """

    sampler: Literal["ddim", "dpm"] = "ddim"
    template: str | None = None
    ranges: list[NonNegative] = field(default_factory=lambda: [0.25, 0.5, 1.0, 1.5, 2.0])


@dataclass(frozen=True, kw_only=True)
class RenderedOptions(OfVideos, EvaluateOptions):
    """Clips rebuilt from their first frame.

    Args:
        refine: the network of chatanyone.face_refine whose faces are measured, too.
        template: the head template that the renderer was trained with; left out, as its run says.
    """

    refine: str | None = None
    template: str | None = None


STAGES: Final = {
    "chatanyone.face_motion": Record(
        "trainers.chatanyone.face_motion:FaceMotionStage",
        evaluator=Tool("trainers.chatanyone.evaluation.face_motion:measure_face_motion", FaceMotionOptions),
        streamer=Tool("trainers.chatanyone.live:LiveHead", HeadLiveOptions),
    ),
    "chatanyone.renderer": Record(
        "trainers.chatanyone.renderer:RendererStage",
        animator=Tool("trainers.chatanyone.animation:Reenactor", ReenactOptions),
        evaluator=Tool("trainers.chatanyone.evaluation.reenactment:measure_rendering", RenderedOptions),
    ),
    "chatanyone.body_motion": Record(
        "trainers.chatanyone.body_motion:BodyMotionStage",
        animator=Tool("trainers.chatanyone.animation:PortraitAnimator", PortraitOptions),
        streamer=Tool("trainers.chatanyone.live:LivePortrait", LiveOptions),
    ),
    "chatanyone.face_refine": Record("trainers.chatanyone.face_refine:FaceRefineStage"),
}
