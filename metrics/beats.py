"""Does motion stop and turn where speech has its onsets? The beat alignment score (PH-20)."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.points import as_pose, in_frame_heights, visible
from models.human.keypoints import BODY, HANDS

_MOVING = [*range(BODY.start, BODY.stop), *range(HANDS.start, HANDS.stop)]


def motion_beats(
    pose: Tensor, fps: float, aspect: float = 1.0, smoothing: float = 1 / 12, prominence: float = 0.3
) -> np.ndarray:
    """Times of kinematic beats in seconds: local minima of the mean speed of body and hand points.

    The speed between frames t and t + 1 is taken at t + 1/2, over points there in both, then smoothed by a Gaussian. A
    minimum counts when the speed rises on both sides of it by a part of its mean: trembling makes no beats. The face is
    left out: lips have a measure of their own (`metrics.lips`).

    Args:
        pose: (T, 134, 3).
        fps: frames a second.
        aspect: width over height of the frame.
        smoothing: sigma of the Gaussian in seconds (AIST++: 5 frames at 60 fps).
        prominence: least rise, as a part of the clip's mean speed (ours; 0 takes every minimum, as AIST++).
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    pose = as_pose(pose)[:, _MOVING]
    points = in_frame_heights(pose, aspect)
    there = visible(pose[1:]) & visible(pose[:-1])
    steps = (points[1:] - points[:-1]).norm(dim=-1) * there
    speed = (steps.sum(-1) / there.sum(-1).clamp(min=1)).cpu().numpy() * fps
    if len(speed) < 3:
        return np.zeros(0)
    speed = gaussian_filter1d(speed, smoothing * fps)
    low, _ = find_peaks(-speed, prominence=prominence * speed.mean())
    return (low + 0.5) / fps


def beat_alignment(beats: np.ndarray, onsets: np.ndarray, sigma: float) -> float:
    """1 / |B| sum_{b in B} exp(-min_{o in O} (b - o)^2 / (2 sigma^2)); 0 without beats B or onsets O, in seconds."""
    if not len(beats) or not len(onsets):
        return 0.0
    nearest = np.abs(np.asarray(beats)[:, None] - np.asarray(onsets)[None, :]).min(1)
    return float(np.exp(-(nearest**2) / (2 * sigma**2)).mean())


class BeatAlignmentScore(Metric):
    """Beat Alignment Score of AIST++ with speech onsets for music beats (PH-20), mean over clips.

    BAS = 1 / |B| sum_{b in B} exp(-min_{o in O} (b - o)^2 / (2 sigma^2)), B the kinematic beats (`motion_beats`), O the
    audio onsets (`datamodules.media.hearing.audio_onsets`). A clip without beats or onsets scores 0. Speech has several
    onsets a second, so beats at random times score well above 0: the figure says something only beside the truth's own.

    Args:
        sigma: seconds (AIST++: 3 frames at 60 fps).
    """

    total: Tensor
    clips: Tensor
    without_beats: Tensor
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, sigma: float = 0.05):
        super().__init__()
        self.sigma = sigma
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("without_beats", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, pose: Tensor, onsets: np.ndarray, fps: float, aspect: float = 1.0) -> None:
        """Add one clip: pose (T, 134, 3) and its onset times in seconds."""
        beats = motion_beats(pose, fps, aspect)
        self.total += beat_alignment(beats, onsets, self.sigma)
        self.clips += 1
        self.without_beats += int(not len(beats))

    def compute(self) -> Tensor:
        """The mean score in [0, 1], a scalar; NaN without clips."""
        return self.total / self.clips if self.clips > 0 else torch.tensor(float("nan"))
