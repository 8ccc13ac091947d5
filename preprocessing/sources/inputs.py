"""A picture and a sound file to what networks take, for notebooks; `trainers.animate` does it for whole videos."""

from pathlib import Path

import numpy as np

from datamodules.clip import SAMPLE_RATE
from datamodules.media.files import read_audio
from datamodules.media.picture import read_image
from preprocessing.pose.image import detect_image
from preprocessing.speech.handcrafted import features


def first_pose(picture: str | Path) -> np.ndarray:
    """The key points (134, 3) of the person in a picture file: x, y as fractions of the picture, and score.

    Raises:
        MediaError: a file that is not there or cannot be read.
        NoPersonFound, MorePeopleFound: nobody, or several people.
    """
    return detect_image(read_image(Path(picture)), name=str(picture))


def speech_features(sound: str | Path, fps: float = 25.0) -> np.ndarray:
    """The 35 hand-crafted features (T, 35) of a sound file, one row a video frame (MMGT-6).

    Raises:
        MediaError: a file that is not there, or without sound that can be read.
    """
    audio = read_audio(Path(sound), SAMPLE_RATE)
    return features(audio, max(1, round(len(audio) / SAMPLE_RATE * fps)), fps)
