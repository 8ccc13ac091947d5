"""Between motion features and the numbers that the diffusion denoises."""

from typing import Any, Literal

import torch
from torch import Tensor, nn


class MotionSpace(nn.Module):
    """Motion features (..., C) in units of their spread.

    `predict="offset"` (ours) takes the distance from M^0, the source picture's features, in units of how far each
    channel usually moves within a clip; `predict="motion"` the features themselves, by mean and standard deviation.
    Statistics are buffers, so they travel with the network.

    Args:
        channels: C.
        predict: "offset" or "motion".
    """

    motion_mean: Tensor
    motion_std: Tensor
    offset_std: Tensor
    known: Tensor
    base: Tensor

    def __init__(self, channels: int, predict: Literal["offset", "motion"] = "offset"):
        super().__init__()
        if predict not in ("offset", "motion"):
            raise ValueError(f"predict has to be 'offset' or 'motion', got '{predict}'")
        self.predict = predict
        self.register_buffer("motion_mean", torch.zeros(channels))
        self.register_buffer("motion_std", torch.ones(channels))
        self.register_buffer("offset_std", torch.ones(channels))
        self.register_buffer("known", torch.zeros((), dtype=torch.uint8))  # gloo takes no bool
        self.register_buffer("base", torch.zeros(32, dtype=torch.uint8))

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take "implicit" (mean, std, network) and "implicit_motion" (std) of an index's statistics, or nothing."""
        if "implicit" not in statistics:
            return
        self.set_moments(
            statistics["implicit"]["mean"], statistics["implicit"]["std"], statistics["implicit_motion"]["std"]
        )
        self.set_base(statistics["implicit"]["network"])

    def set_moments(self, mean: Any, std: Any, offset_std: Any) -> None:
        """Take mean and standard deviation of the features, and the deviation from their clip's mean; each (C,)."""
        for buffer, values in ((self.motion_mean, mean), (self.motion_std, std), (self.offset_std, offset_std)):
            buffer.copy_(torch.as_tensor(values, dtype=buffer.dtype))
        self.known.fill_(1)

    def set_base(self, sha256: str) -> None:
        """Remember whose features these are: the SHA-256 of the base network's weights, in hexadecimal."""
        self.base.copy_(torch.frombuffer(bytearray.fromhex(sha256), dtype=torch.uint8))

    @property
    def base_sha256(self) -> str:
        """SHA-256 of the base network whose features these are; empty where it is not known."""
        return bytes(self.base.tolist()).hex() if self.base.any() else ""

    def condition(self, source: Tensor) -> Tensor:
        """M^0 (B, C) as the network reads it."""
        return ((source - self.motion_mean) / self.motion_std).clamp(-10, 10)

    def encode(self, motion: Tensor, source: Tensor) -> Tensor:
        """Features (B, T, C) of a person whose picture has M^0 (B, C), as what is denoised."""
        if self.predict == "motion":
            return (motion - self.motion_mean) / self.motion_std
        return (motion - source[:, None]) / self.offset_std

    def decode(self, x0: Tensor, source: Tensor) -> Tensor:
        """What `encode` made, back to features (B, T, C)."""
        if self.predict == "motion":
            return x0 * self.motion_std + self.motion_mean
        return x0 * self.offset_std + source[:, None]
