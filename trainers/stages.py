"""The lists of trainable stages and datamodules: a new system adds its lines here and edits no other file."""

from settings import Registry

STAGES = Registry(
    "stage",
    {
        "mmgt.smga": "trainers.mmgt.smga:SMGAStage",
        "human.pose_autoencoder": "trainers.human.pose_autoencoder:PoseAutoencoderStage",
    },
)

DATAMODULES = Registry("datamodule", {"clips": "datamodules.reader:ClipDataModule"})
