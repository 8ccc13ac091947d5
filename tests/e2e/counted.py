"""Stages whose ranks write down what they hold.

`counted` is `mmgt.smga`, `counted_gan` the toy with two optimisers, and `VIDEO` says what the steps of MMGT's video
diffusion are called.
"""

from tests.trainers.toy import ToyGAN
from trainers.mmgt.smga import SMGAStage
from trainers.mmgt.video_audio import VideoAudioStage
from trainers.mmgt.video_pose import VideoPoseStage
from trainers.planning.count import HeldBytes
from trainers.stages import STAGES


class CountedSMGA(SMGAStage):
    """SMGA whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedGAN(ToyGAN):
    """The toy stage with two optimisers, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedVideoPose(VideoPoseStage):
    """The first step of the video diffusion, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedVideoAudio(VideoAudioStage):
    """The second, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


VIDEO = {"video_pose": "counted_pose", "video_audio": "counted_audio"}

STAGES.add("counted_pose", CountedVideoPose)
STAGES.add("counted_audio", CountedVideoAudio)
STAGES.add("counted", CountedSMGA)
STAGES.add("counted_gan", CountedGAN)
