"""Stages whose ranks write down what they hold.

`counted` is `mmgt.smga`, `counted_gan` the toy with two optimisers; `VIDEO` says what the steps of MMGT's video
diffusion are called, `PAHA` what PAHA's stages are, `VERSA` what the steps of VersaAnimator's are.
"""

from tests.trainers.toy import ToyGAN
from trainers.mmgt.smga import SMGAStage
from trainers.mmgt.video_audio import VideoAudioStage
from trainers.mmgt.video_pose import VideoPoseStage
from trainers.paha.pce import PCEFaceStage
from trainers.paha.univdm import UniVDMStage
from trainers.planning.count import HeldBytes
from trainers.stages import STAGES
from trainers.versa.audio_video import AudioVideoStage
from trainers.versa.pose_video import PoseVideoStage


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


class CountedUniVDM(UniVDMStage):
    """UniVDM, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedPCE(PCEFaceStage):
    """The classifier of the face, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedPoseVideo(PoseVideoStage):
    """The first step of VersaAnimator's video diffusion, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedAudioVideo(AudioVideoStage):
    """The second, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


PAHA = {"univdm": "counted_univdm", "pce_face": "counted_pce"}
VIDEO = {"video_pose": "counted_pose", "video_audio": "counted_audio"}
VERSA = {"pose_video": "counted_pose_video", "audio_video": "counted_audio_video"}

STAGES.add("counted_pose", CountedVideoPose)
STAGES.add("counted_audio", CountedVideoAudio)
STAGES.add("counted_pose_video", CountedPoseVideo)
STAGES.add("counted_audio_video", CountedAudioVideo)
STAGES.add("counted_univdm", CountedUniVDM)
STAGES.add("counted_pce", CountedPCE)
STAGES.add("counted", CountedSMGA)
STAGES.add("counted_gan", CountedGAN)
