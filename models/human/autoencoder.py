"""A small autoencoder of pose windows: its features are what gestures are compared by (MMGT-23)."""

from typing import Any

import torch
from torch import Tensor, nn

from models.human.keypoints import POINTS
from models.saved import SavedNetwork
from settings.ranges import Count


class PoseAutoencoder(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["human.pose_autoencoder"],
    license="other",
):
    """Convolutions over time squeeze a window of poses into one vector and bring it back (MMGT-23).

    Three convolutions of stride 2 and a linear layer make the feature, the same backwards the reconstruction, after the
    embedding net that FGD was defined with. Coordinates are standardised by the training split's statistics, which
    travel with the weights; a missing point enters as the mean and is left out of the loss.

    Args:
        window: frames of a window, a multiple of 8.
        width: channels of the convolutions, a multiple of 8.
        features: size of the feature vector.
        scores: read and reconstruct the points' scores as well: 402 channels in place of 268.
    """

    pose_mean: Tensor
    pose_std: Tensor

    def __init__(self, *, window: Count = 80, width: Count = 128, features: Count = 32, scores: bool = False):
        super().__init__()
        if window % 8 or window < 8:
            raise ValueError(f"window must be a multiple of 8 frames, not {window}")
        if width % 8 or width < 8:
            raise ValueError(f"width must be a multiple of 8 channels, not {width}")
        self.window, self.features, self.scores = window, features, scores
        channels = POINTS * (3 if scores else 2)
        short = window // 8
        self.encoder = nn.Sequential(
            *_down(channels, width),
            *_down(width, width),
            *_down(width, width),
            nn.Flatten(),
            nn.Linear(width * short, features),
        )
        self.decoder = nn.Sequential(
            nn.Linear(features, width * short),
            nn.Unflatten(1, (width, short)),
            *_up(width),
            *_up(width),
            *_up(width),
            nn.Conv1d(width, channels, 3, padding=1),
        )
        self.register_buffer("pose_mean", torch.full((POINTS, 2), 0.5))
        self.register_buffer("pose_std", torch.full((POINTS, 2), 0.25))

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take mean and std of the pose from a data set's statistics (`index.json`)."""
        for name in ("mean", "std"):
            buffer = getattr(self, f"pose_{name}")
            buffer.copy_(torch.as_tensor(statistics["pose"][name], dtype=buffer.dtype).reshape(buffer.shape))

    def standardise(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Channels that the network reads and which of them are there.

        Args:
            pose: (B, T, 134, 3) as fractions of the frame and score.

        Returns:
            (B, C, T) standardised numbers and a mask (B, C, T) of 0 and 1, C = 268 or 402.
        """
        there = (pose[..., 2:] > 0).to(pose.dtype)
        points = (pose[..., :2] - self.pose_mean) / self.pose_std * there
        mask = there.expand_as(points)
        if self.scores:
            points = torch.cat([points, pose[..., 2:]], -1)
            mask = torch.cat([mask, torch.ones_like(there)], -1)
        return points.flatten(2).transpose(1, 2), mask.flatten(2).transpose(1, 2)

    def encode(self, pose: Tensor) -> Tensor:
        """Features (B, features) of windows (B, window, 134, 3); raises ValueError for another length."""
        return self.encoder(self.standardise(self._checked(pose))[0])

    def reconstruct(self, pose: Tensor) -> Tensor:
        """Windows (B, window, 134, 2) through the bottleneck and back, in fractions of the frame."""
        points = self.decoder(self.encode(pose)).transpose(1, 2).unflatten(2, (POINTS, -1))[..., :2]
        return points * self.pose_std + self.pose_mean

    def forward(self, pose: Tensor) -> Tensor:
        """Loss of windows (B, window, 134, 3): mean squared error of the standardised numbers that are there."""
        inputs, mask = self.standardise(self._checked(pose))
        errors = (self.decoder(self.encoder(inputs)) - inputs).square() * mask
        return errors.sum() / mask.sum().clamp(min=1)

    def _checked(self, pose: Tensor) -> Tensor:
        if pose.ndim != 4 or tuple(pose.shape[1:]) != (self.window, POINTS, 3):
            raise ValueError(f"this autoencoder reads (B, {self.window}, {POINTS}, 3), not {tuple(pose.shape)}")
        return pose


def _down(channels: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(channels, width, 4, stride=2, padding=1), nn.GroupNorm(8, width), nn.GELU()


def _up(width: int) -> tuple[nn.Module, ...]:
    return nn.ConvTranspose1d(width, width, 4, stride=2, padding=1), nn.GroupNorm(8, width), nn.GELU()
