"""ChatAnyone: its stages, and what measures them, with their options."""

from dataclasses import dataclass, field
from typing import Final

from settings.ranges import NonNegative
from trainers.evaluation.options import Beside, EvaluateOptions, Sampled
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class FaceMotionOptions(Beside, Sampled, EvaluateOptions):
    """Head motion from speech.

    Args:
        template: the head template that the clips' coefficients are of; left out, as the run's config says.
        ranges: settings of the dials of range that are measured, in usual spreads.
    """

    template: str | None = None
    ranges: list[NonNegative] = field(default_factory=lambda: [0.25, 0.5, 1.0, 1.5, 2.0])


STAGES: Final = {
    "chatanyone.face_motion": Record(
        "trainers.chatanyone.face_motion:FaceMotionStage",
        evaluator=Tool("trainers.chatanyone.evaluation.face_motion:measure_face_motion", FaceMotionOptions),
    ),
    "chatanyone.renderer": Record("trainers.chatanyone.renderer:RendererStage"),
    "chatanyone.body_motion": Record("trainers.chatanyone.body_motion:BodyMotionStage"),
    "chatanyone.face_refine": Record("trainers.chatanyone.face_refine:FaceRefineStage"),
}
