"""The one list: stages, what animates and measures them, datamodules.

A new system adds its lines here and edits no other file.
"""

from settings import Registry

STAGES = Registry(
    "stage",
    {
        "mmgt.smga": "trainers.mmgt.smga:SMGAStage",
        "human.pose_autoencoder": "trainers.human.pose_autoencoder:PoseAutoencoderStage",
    },
)
"""A LightningModule each."""

ANIMATORS = Registry("animator", {"mmgt.smga": "trainers.animation.smga:SMGAAnimator"})
"""Stage to the class that turns its trained network into files: `Animator(export, fps, device).animate(request)`."""

EVALUATORS = Registry("evaluator", {"mmgt.smga": "trainers.evaluation.gestures:evaluate_gestures"})
"""Stage to the function that measures it: `evaluate(animator, pose_autoencoder, plan)` gives figures by split."""

DATAMODULES = Registry("datamodule", {"clips": "datamodules.reader:ClipDataModule"})
