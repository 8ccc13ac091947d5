"""The one list: stages, what animates and measures them, datamodules.

A new system adds its lines here and edits no other file.
"""

from settings import Registry

STAGES = Registry(
    "stage",
    {
        "mmgt.smga": "trainers.mmgt.smga:SMGAStage",
        "implicit_motion.base": "trainers.implicit_motion.base:BaseStage",
        "implicit_motion.motion": "trainers.implicit_motion.motion:MotionStage",
        "human.pose_autoencoder": "trainers.human.pose_autoencoder:PoseAutoencoderStage",
    },
)
"""A LightningModule each."""

ANIMATORS = Registry(
    "animator",
    {
        "mmgt.smga": "trainers.animation.smga:SMGAAnimator",
        "implicit_motion.base": "trainers.animation.implicit_motion:Reenactor",
        "implicit_motion.motion": "trainers.animation.implicit_motion:MotionAnimator",
    },
)
"""Stage to the class that turns its trained network into files: `Animator(export, fps, device).animate(wanted)`."""

EVALUATORS = Registry(
    "evaluator",
    {
        "mmgt.smga": "trainers.evaluation.gestures:measure_gestures",
        "implicit_motion.base": "trainers.evaluation.reenactment:measure_reenactment",
        "implicit_motion.motion": "trainers.evaluation.speech_motion:measure_speech_motion",
    },
)
"""Stage to the function that measures it: `measure(export, plan, folder)` gives figures, splits and the paper's own."""

DATAMODULES = Registry("datamodule", {"clips": "datamodules.reader:ClipDataModule"})
