"""`preprocessing.run` with steps that take no time, as a program of its own: spawned workers read this file, too."""

import os
import signal
import sys
import time

import numpy as np

from models.human.keypoints import POINTS
from preprocessing.step import Draft, Drop
from preprocessing.steps import POSE, SPEECH


class QuickPose:
    """A pose that is a function of the picture alone.

    Args:
        seconds: takes that long for every frame.
        poison: a video with this in its name takes the process down.
        hang: a video with this in its name never ends.
        broken: cannot be built.
        drop: a video with this in its name is dropped for having no face.
    """

    def __init__(
        self, *, seconds: float = 0.0, poison: str = "", hang: str = "", drop: str = "", broken: bool = False
    ) -> None:
        if broken:
            raise ImportError("libGL.so.1: cannot open shared object file")
        self.seconds, self.poison, self.hang, self.drop = seconds, poison, hang, drop

    def __call__(self, draft: Draft) -> None:
        """Fill in the pose."""
        name = draft.source.name
        if self.poison and self.poison in name:
            os.kill(os.getpid(), signal.SIGSEGV)
        while self.hang and self.hang in name:
            time.sleep(0.1)
        if self.drop and self.drop in name:
            raise Drop("no_face", "found in 0.0 of the frames, least is 0.5")
        means = []
        for frame in draft.frames():
            means.append(frame.mean() / 255)
            time.sleep(self.seconds)
        value = np.asarray(means, np.float32)[:, None, None]
        keypoints = np.broadcast_to(value, (len(means), POINTS, 2)).astype(np.float32)
        draft.arrays["pose.npz"] = {"keypoints": keypoints, "scores": np.ones((len(means), POINTS), np.float32)}
        draft.figures["brightness"] = float(value.mean())


class QuickSpeech:
    """Speech features that are all alike."""

    def __call__(self, draft: Draft) -> None:
        """Fill in the features."""
        draft.arrays["speech.npz"] = {"handcrafted": np.ones((draft.info.frames, 35), np.float32)}


POSE.add("quick", QuickPose)
SPEECH.add("quick", QuickSpeech)
QUICK = ["pose=quick", "face=off", "quality=off", "speech=[quick]", "min_clip_seconds=0.4"]

if __name__ == "__main__":
    from preprocessing.run import main

    sys.exit(main([*QUICK, *sys.argv[1:]]))
