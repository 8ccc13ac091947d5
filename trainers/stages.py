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
        "versa.tokenizer": "trainers.versa.tokenizer:TokenizerStage",
        "versa.evaluator": "trainers.versa.evaluator:EvaluatorStage",
        "versa.text_motion": "trainers.versa.text_motion:TextMotionStage",
        "versa.audio_motion": "trainers.versa.audio_motion:AudioMotionStage",
        "human.pose_autoencoder": "trainers.human.pose_autoencoder:PoseAutoencoderStage",
    },
)
"""A LightningModule each."""

ANIMATORS = Registry(
    "animator",
    {
        "mmgt.smga": "trainers.mmgt.animation:SMGAAnimator",
        "implicit_motion.base": "trainers.implicit_motion.animation:Reenactor",
        "implicit_motion.motion": "trainers.implicit_motion.animation:MotionAnimator",
        "versa.text_motion": "trainers.versa.animation:VersaAnimator",
        "versa.audio_motion": "trainers.versa.animation:VersaAnimator",
    },
)
"""Stage to the class that turns its trained network into files: `Animator(export, fps, device).animate(wanted)`."""

EVALUATORS = Registry(
    "evaluator",
    {
        "mmgt.smga": "trainers.mmgt.evaluation.gestures:measure_gestures",
        "implicit_motion.base": "trainers.implicit_motion.evaluation.reenactment:measure_reenactment",
        "implicit_motion.motion": "trainers.implicit_motion.evaluation.speech_motion:measure_speech_motion",
        "versa.tokenizer": "trainers.versa.evaluation.tokenizer:measure_tokenizer",
        "versa.text_motion": "trainers.versa.evaluation.text_motion:measure_text_motion",
        "versa.audio_motion": "trainers.versa.evaluation.gesturing:measure_gesturing",
    },
)
"""Stage to the function that measures it: `measure(export, plan, folder)` gives figures, splits and the paper's own."""

DATAMODULES = Registry("datamodule", {"clips": "datamodules.reader:ClipDataModule"})
