"""Networks of people that several systems are measured by."""

from typing import Final

from trainers.record import Record

STAGES: Final = {"human.pose_autoencoder": Record("trainers.human.pose_autoencoder:PoseAutoencoderStage")}
