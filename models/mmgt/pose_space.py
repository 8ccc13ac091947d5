"""Between poses as fractions of the frame and the numbers that SMGA denoises (MMGT-2)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.human.keypoints import FACE, POINTS

CHANNELS = 3 * POINTS
MISSING = -1.0
FAINT = 0.05  # a generated score below it means that the point is missing


class PoseSpace(nn.Module):
    """Poses (..., 134, 3) of fractions and scores, to 402 channels and back.

    `predict="pose"` is the paper's: x and y in [-1, 1] by the frame's size (MMGT-2). `predict="offset"` (ours) takes
    the distance from the first pose in units of how far each point usually moves within a clip, which gives small
    motions, as of the lips, the same weight as large ones; a point that the first pose lacks stays missing. Scores
    stay in [0, 1], or are the difference from the first pose's.

    Args:
        predict: "pose" or "offset".
    """

    pose_mean: Tensor
    pose_std: Tensor
    motion_std: Tensor

    def __init__(self, predict: Literal["pose", "offset"] = "pose"):
        super().__init__()
        if predict not in ("pose", "offset"):
            raise ValueError(f"predict has to be 'pose' or 'offset', got '{predict}'")
        self.predict = predict
        self.register_buffer("pose_mean", torch.full((POINTS, 2), 0.5))
        self.register_buffer("pose_std", torch.full((POINTS, 2), 0.5))
        self.register_buffer("motion_std", torch.full((POINTS, 2), 0.05))

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take "pose" and "pose_motion" of the index's statistics (fractions of the frame)."""
        for buffer, key, moment in (
            (self.pose_mean, "pose", "mean"),
            (self.pose_std, "pose", "std"),
            (self.motion_std, "pose_motion", "std"),
        ):
            buffer.copy_(torch.as_tensor(statistics[key][moment], dtype=buffer.dtype))

    def condition(self, first_pose: Tensor) -> Tensor:
        """First poses (B, 134, 3) as the network reads them, (B, 402); a missing point is 0, 0, 0."""
        xy, score = first_pose[..., :2], first_pose[..., 2:]
        if self.predict == "pose":
            xy = 2 * xy - 1
        else:
            xy = ((xy - self.pose_mean) / self.pose_std).clamp(-5, 5)
        return torch.cat([xy * (score > 0), score], -1).flatten(-2)

    def encode(self, pose: Tensor, first_pose: Tensor) -> tuple[Tensor, Tensor]:
        """Poses as what is denoised.

        Args:
            pose: (B, T, 134, 3).
            first_pose: (B, 134, 3).

        Returns:
            x0 (B, T, 402), and where it is known, (B, T, 402) bool: a missing point's x and y are not.
        """
        xy, score = pose[..., :2], pose[..., 2:]
        visible = score > 0
        if self.predict == "pose":
            numbers, score_known = 2 * xy - 1, torch.ones_like(visible)
        else:
            first = first_pose[:, None]
            score_known = (first[..., 2:] > 0).expand_as(visible)
            visible = visible & score_known
            numbers, score = (xy - first[..., :2]) / self.motion_std, (score - first[..., 2:]) * score_known
        x0 = torch.cat([numbers * visible, score], -1)
        return x0.flatten(-2), torch.cat([visible, visible, score_known], -1).flatten(-2)

    def decode(self, x0: Tensor, first_pose: Tensor) -> Tensor:
        """What `encode` made, (B, T, 402), back to poses (B, T, 134, 3) with scores in [0, 1]."""
        numbers = x0.unflatten(-1, (POINTS, 3))
        xy, score = numbers[..., :2], numbers[..., 2:]
        if self.predict == "pose":
            xy = (xy + 1) / 2
        else:
            first = first_pose[:, None]
            xy = first[..., :2] + xy * self.motion_std
            score = torch.where(first[..., 2:] > 0, first[..., 2:] + score, 0)
        return torch.cat([xy, score.clamp(0, 1)], -1)

    @staticmethod
    def hide_faint(pose: Tensor) -> Tensor:
        """Poses (..., 134, 3) whose points with next to no score are missing: (-1, -1, 0)."""
        xy, score = pose[..., :2], pose[..., 2:]
        visible = score > FAINT
        return torch.cat([torch.where(visible, xy, MISSING), torch.where(visible, score, 0)], -1)


def face_channels() -> Tensor:
    """M_f: (402,) bool, true on x, y and score of the 68 face points; M_b is its complement (MMGT-4)."""
    mask = torch.zeros(POINTS, 3, dtype=torch.bool)
    mask[FACE] = True
    return mask.flatten()
