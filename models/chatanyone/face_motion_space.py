"""Between a head's coefficients and the numbers that the diffusion denoises."""

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from models.chatanyone.head import EXPRESSIONS, POSE

CHANNELS: Final = EXPRESSIONS + POSE
UNUSED: Final = 1e-3
"""Usual spread below which the template does not use a coefficient."""


class HeadMotion(NamedTuple):
    """How a head moves.

    Attributes:
        expression: (..., T, E) coefficients of the head template.
        pose: (..., T, 6) rotation and translation.
    """

    expression: Tensor
    pose: Tensor


class HeadSpace(nn.Module):
    """Expression by its mean and spread, pose by its distance from the picture's in units of how far heads move.

    Statistics are buffers, so they travel with the network, as does the hash of the template whose coefficients these
    are.
    """

    mean: Tensor
    std: Tensor
    moves: Tensor
    template: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(EXPRESSIONS))
        self.register_buffer("std", torch.ones(EXPRESSIONS))
        self.register_buffer("moves", torch.ones(POSE))
        self.register_buffer("template", torch.zeros(32, dtype=torch.uint8))

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take "head" (mean, std, network) and "head_pose" (std) of an index's statistics, or nothing."""
        if "head" not in statistics:
            return
        for buffer, values in (
            (self.mean, statistics["head"]["mean"]),
            (self.std, statistics["head"]["std"]),
            (self.moves, statistics["head_pose"]["std"]),
        ):
            buffer.copy_(torch.as_tensor(values, dtype=buffer.dtype))
        if "network" in statistics["head"]:
            hashed = bytearray.fromhex(statistics["head"]["network"])
            self.template.copy_(torch.frombuffer(hashed, dtype=torch.uint8))

    @property
    def template_sha256(self) -> str:
        """SHA-256 of the head template whose coefficients these are; empty where it is not known."""
        return bytes(self.template.tolist()).hex() if self.template.any() else ""

    @property
    def used(self) -> Tensor:
        """(E,) 1 for coefficients that the template uses, else 0."""
        return (self.std > UNUSED).to(self.std)

    @property
    def mask(self) -> Tensor:
        """(22,) the same with the pose's numbers, all of which are used."""
        return torch.cat([self.used, torch.ones_like(self.moves)])

    def encode(self, motion: HeadMotion, pose: Tensor) -> Tensor:
        """Motion of people whose picture has a pose (B, 6), as what is denoised, (B, T, 22)."""
        offset = (motion.pose - pose[:, None]) / self.moves
        return torch.cat([self.encode_expression(motion.expression), offset], -1)

    def encode_expression(self, expression: Tensor) -> Tensor:
        """The first of it alone: coefficients (..., E) to (..., E)."""
        return (expression - self.mean) / self.std * self.used

    def decode(self, x0: Tensor, pose: Tensor) -> HeadMotion:
        """What `encode` made, (B, T, 22), back."""
        expression = x0[..., :EXPRESSIONS] * self.std * self.used + self.mean
        return HeadMotion(expression, x0[..., EXPRESSIONS:] * self.moves + pose[:, None])

    def ranges(self, x0: Tensor) -> Tensor:
        """Range of expression and of pose over a sequence (B, T, 22): how far they go from their mean, (B, 2)."""
        spread = (x0 - x0.mean(1, keepdim=True)).square().mean(1)
        weights = self.used
        expression = (spread[:, :EXPRESSIONS] * weights).sum(1) / weights.sum().clamp(min=1)
        return torch.stack([expression, spread[:, EXPRESSIONS:].mean(1)], 1).sqrt()
