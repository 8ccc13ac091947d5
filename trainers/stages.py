"""The list of trainable stages: a new system adds its lines here and edits no other file."""

from settings import Registry

STAGES = Registry(
    "stage",
    {
        "mmgt.smga": "trainers.mmgt.smga:SMGAStage",
        "human.pose_autoencoder": "trainers.human.pose_autoencoder:PoseAutoencoderStage",
    },
)
