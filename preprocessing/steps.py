"""The one list of preprocessing steps that are chosen by name. A new back end is one entry here."""

from settings import Registry

SCENES = Registry(
    "scene detector", {"content": "preprocessing.videos.scenes:ContentScenes", "off": "preprocessing.steps:off"}
)
POSE = Registry(
    "pose back end",
    {
        "mediapipe": "preprocessing.pose.mediapipe:MediaPipePose",
        "dwpose": "preprocessing.pose.dwpose:DWPose",
        "sidecar": "preprocessing.pose.sidecar:SidecarPose",
    },
)
FACE = Registry(
    "face back end",
    {
        "mediapipe": "preprocessing.face.mediapipe:MediaPipeFace",
        "keypoints": "preprocessing.face.keypoints:KeypointFace",
        "off": "preprocessing.steps:off",
    },
)
SMPLX = Registry("SMPL-X fitter", {"off": "preprocessing.steps:off", "fit": "preprocessing.smplx.step:FitSmplx"})
SPEECH = Registry(
    "speech features",
    {
        "handcrafted": "preprocessing.speech.handcrafted:Handcrafted",
        "transformers": "preprocessing.speech.pretrained:PretrainedSpeech",
        "whisper": "preprocessing.speech.whisper:WhisperSpeech",
    },
)
QUALITY = Registry("quality filter", {"default": "preprocessing.quality:Quality", "off": "preprocessing.steps:off"})
CROP = Registry(
    "crop",
    {
        "off": "preprocessing.steps:off",
        "square": "preprocessing.videos.square:SquareCrop",
        "frame": "preprocessing.videos.frame:FrameCrop",
    },
)


def off() -> None:
    """Leave this step out."""
    return None
