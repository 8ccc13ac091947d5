"""What networks of latent video share: whose latents they know, statistics of speech, tokens of the picture."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.video.checkpointing import run


class LatentNetwork:
    """Mixed into a network with a `denoiser`, `audio_projection`, where it hears, and `image_channels`."""

    def set_statistics(self: Any, statistics: dict[str, Any]) -> None:
        """Take the statistics of an index: those of hand-crafted speech features, where it reads them."""
        if hasattr(self, "audio_projection"):
            self.audio_projection.set_statistics(statistics)

    def use_autoencoder(self: Any, sha256: str, scale: float) -> None:
        """Remember whose latents it learns, by the SHA-256 of the weights, and what those are multiplied with."""
        self.autoencoder, self.latent_scale = sha256, scale
        self._hub_mixin_config |= {"autoencoder": sha256, "latent_scale": scale}  # saved as config.json

    def encode_poses(self: Any, skeletons: Tensor, latents: Tensor) -> Tensor:
        """Drawn poses (B, T, 3, H, W) to (B, T, c, h, w) by its pose guider, for latents (B, C, h, w).

        Raises:
            ValueError: they were drawn at another size.
        """
        recompute = self.denoiser.recompute and self.training
        features = run(self.pose_guider, skeletons.flatten(0, 1), recompute=recompute)
        if features.shape[-2:] != latents.shape[-2:]:
            raise ValueError(
                f"poses were drawn at {skeletons.shape[-2]} x {skeletons.shape[-1]} pixels, which with "
                f"{self.downscaling} pixels a latent go with {features.shape[-2]} x {features.shape[-1]} latents, "
                f"not with {latents.shape[-2]} x {latents.shape[-1]}"
            )
        return features.unflatten(0, skeletons.shape[:2])

    def put_image_tokens(self: Any, image_channels: int, channels: int, plain: bool = False) -> None:
        """Make what brings the image encoder's tokens to those that are read, or one learned token without one.

        Args:
            image_channels: of the encoder's tokens; 0 is none.
            channels: of those that are read.
            plain: tokens go in as they are until that is trained, for UNets that were trained on them (SVD's).
        """
        self.image_channels = image_channels
        if image_channels and plain:
            projection = nn.Linear(image_channels, channels, bias=False)
            nn.init.eye_(projection.weight)
            self.image_projection = nn.Sequential(projection)
        elif image_channels:
            self.image_projection = nn.Sequential(nn.Linear(image_channels, channels), nn.LayerNorm(channels))
        else:
            self.image_token = nn.Parameter(torch.randn(1, channels))

    def image_tokens(self: Any, inputs: Any) -> Tensor:
        """(B, K, D) of the image encoder's tokens; zeros where there are none, the learned one without an encoder.

        Args:
            inputs: with `reference` (B, ...) and `image` (B, K, A) or None.
        """
        size = len(inputs.reference)
        if not self.image_channels:
            return self.image_token.expand(size, -1, -1)
        if inputs.image is None:
            return inputs.reference.new_zeros(size, 1, self.image_projection[0].out_features)
        return self.image_projection(inputs.image)


def check_known(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for a condition that is not among those that a network knows."""
    unknown = set(given) - set(known)
    if unknown:
        raise ValueError(f"no condition is called '{min(unknown)}'; there are {', '.join(known)}")


def check_pose_guider(pose_channels: Sequence[int], downscaling: int) -> None:
    """Raises ValueError for a pose guider that makes pictures smaller by another factor than latents are."""
    if 2 ** (len(pose_channels) - 1) != downscaling:
        raise ValueError(
            f"pose_channels has {len(pose_channels)} widths, so that the pose guider makes pictures "
            f"{2 ** (len(pose_channels) - 1)} times smaller, but latents are {downscaling} times smaller (downscaling)"
        )


def check_sizes(channels: Sequence[int], window: int, motion_frames: int, **parts: int) -> None:
    """Raises ValueError where parts, by their names, do not divide every width, or a window has no positions."""
    for name, part in parts.items():
        odd = [width for width in channels if width % part]
        if odd:
            raise ValueError(f"{name}={part} has to divide every one of channels, and does not divide {odd[0]}")
    if window > motion_frames:
        raise ValueError(
            f"window={window} frames, but temporal attention has positions for motion_frames={motion_frames}"
        )
