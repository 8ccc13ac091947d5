"""Stages of latent video whose ranks write down what they hold."""

from tests.e2e.counted import Counted
from trainers.mmgt.video_audio import VideoAudioStage
from trainers.mmgt.video_pose import VideoPoseStage
from trainers.paha.pce import PCEFaceStage
from trainers.paha.univdm import UniVDMStage
from trainers.versa.audio_video import AudioVideoStage
from trainers.versa.pose_video import PoseVideoStage


class CountedVideoPose(Counted, VideoPoseStage):
    """The first step of the video diffusion, whose ranks count."""


class CountedVideoAudio(Counted, VideoAudioStage):
    """The second, whose ranks count."""


class CountedUniVDM(Counted, UniVDMStage):
    """UniVDM, whose ranks count."""


class CountedPCE(Counted, PCEFaceStage):
    """The classifier of the face, whose ranks count."""


class CountedPoseVideo(Counted, PoseVideoStage):
    """The first step of VersaAnimator's video diffusion, whose ranks count."""


class CountedAudioVideo(Counted, AudioVideoStage):
    """The second, whose ranks count."""
