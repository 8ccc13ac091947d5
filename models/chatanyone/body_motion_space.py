"""Between what moves the renderer and the numbers that the body's diffusion denoises (CA-7)."""

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from models.chatanyone.hands import POINTS as HAND_POINTS
from models.chatanyone.hands import SEEN
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import FrameMotion
from models.human.keypoints import HANDS

HEAD: Final = 3 * len(INDICES)
"""Numbers of the head's key points."""
HAND: Final = 2 * HAND_POINTS
"""Numbers of the points of both hands."""
SIDES: Final = 2
"""Hands, of each of which a number says whether it is seen."""
UNUSED: Final = 1.01e-4
"""Usual movement up to which a number is taken for one that never moves: the least that statistics hold."""
_SMALLEST: Final = 1e-3  # scale of a body


class BodyMoves(NamedTuple):
    """What moves the renderer beside the head template.

    Attributes:
        move: offsets of the head's key points, and what moves the body's; each (..., n, c).
        hands: (..., 42, 3) x and y as fractions of the frame, score; a point under `SEEN` is missing.
    """

    move: FrameMotion
    hands: Tensor


class BodySpace(nn.Module):
    """Offsets and body by their distance from the picture's, in units of how far each usually moves; points of hands by
    their mean and spread, and whether each hand is seen, 1 or -1.

    Statistics are buffers, so they travel with the network, as do the hashes of the renderer whose features these are
    and of its head template.

    Args:
        movement_channels: three for each of the body's implicit key points.
    """

    head_moves: Tensor
    offset_moves: Tensor
    body_moves: Tensor
    hand_mean: Tensor
    hand_std: Tensor
    renderer: Tensor

    def __init__(self, movement_channels: int) -> None:
        super().__init__()
        self.movement_channels = movement_channels
        body = movement_channels + 4
        self.register_buffer("head_moves", torch.ones(HEAD))
        self.register_buffer("offset_moves", torch.ones(HEAD))
        self.register_buffer("body_moves", torch.ones(body))
        self.register_buffer("hand_mean", torch.zeros(HAND))
        self.register_buffer("hand_std", torch.ones(HAND))
        self.register_buffer("renderer", torch.zeros(32, dtype=torch.uint8))
        self.groups = {
            "offset": slice(0, HEAD),
            "body": slice(HEAD, HEAD + body),
            "hands": slice(HEAD + body, HEAD + body + HAND + SIDES),
        }
        """Which of the numbers are what."""
        self.channels = HEAD + body + HAND + SIDES
        self.picture_channels = HEAD + self.channels
        """Numbers of what is known of a picture: its head's key points, and all of the others."""

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take those of "chatanyone" and of "pose" of an index's statistics, or nothing.

        Raises:
            ValueError: features of a renderer with another number of key points.
        """
        if "chatanyone" not in statistics:
            return
        head, offset, *rest = (
            torch.as_tensor(statistics[name]["std"]).flatten()
            for name in (
                "chatanyone", "chatanyone_offset", "chatanyone_movement", "chatanyone_scale", "chatanyone_place"
            )
        )  # fmt: skip
        body = torch.cat(rest)
        if body.shape != self.body_moves.shape:
            raise ValueError(
                f"the features have {len(body) - 4} numbers of movement, the network makes {self.movement_channels}"
            )
        self.head_moves.copy_(head)
        self.offset_moves.copy_(offset)
        self.body_moves.copy_(body)
        for buffer, name in ((self.hand_mean, "mean"), (self.hand_std, "std")):
            buffer.copy_(torch.as_tensor(statistics["pose"][name])[HANDS].flatten())
        hashed = bytearray.fromhex(statistics["chatanyone"]["network"])
        self.renderer.copy_(torch.frombuffer(hashed, dtype=torch.uint8))

    @property
    def renderer_sha256(self) -> str:
        """SHA-256 of the renderer whose features these are; empty where it is not known."""
        return bytes(self.renderer.tolist()).hex() if self.renderer.any() else ""

    @property
    def mask(self) -> Tensor:
        """(C,) 1 for numbers that ever move, else 0."""
        used = torch.cat([self.offset_moves, self.body_moves]) > UNUSED
        return torch.cat([used, used.new_ones(HAND + SIDES)]).to(self.offset_moves)

    def encode(self, moves: BodyMoves, picture: BodyMoves) -> tuple[Tensor, Tensor]:
        """Moves (B, T, ...) of people whose picture has others (B, ...), as what is denoised.

        Returns:
            (B, T, C), and (B, T, C) bool where the number is known: hands that are not seen have no place.
        """
        flat, still = _flat(moves.move), _flat(picture.move)[:, None]
        scale = torch.cat([self.offset_moves, self.body_moves])
        moved = (flat - still) / scale * self.mask[: len(scale)]
        there = hands_seen(moves.hands)
        points = (moves.hands[..., :2].flatten(-2) - self.hand_mean) / self.hand_std
        seen = there[..., None].expand(*there.shape, 2).flatten(-2)
        shown = sides_seen(there)
        x0 = torch.cat([moved, torch.where(seen, points, 0.0), 2 * shown.to(points) - 1], -1)
        known = torch.cat([torch.ones_like(moved, dtype=torch.bool), seen, torch.ones_like(shown)], -1)
        return x0, known

    def decode(self, x0: Tensor, picture: BodyMoves) -> BodyMoves:
        """What `encode` made, (B, T, C), back; a hand is seen whole or not at all."""
        offset, body, points, shown = x0.split([HEAD, len(self.body_moves), HAND, SIDES], -1)
        still = _flat(picture.move)[:, None]
        scale = torch.cat([self.offset_moves, self.body_moves]) * self.mask[: HEAD + len(self.body_moves)]
        offset, movement, size, place = (torch.cat([offset, body], -1) * scale + still).split(
            [HEAD, self.movement_channels, 1, 3], -1
        )
        move = FrameMotion(
            offset.unflatten(-1, (-1, 3)),
            movement.unflatten(-1, (self.movement_channels // 3, 3)),
            size.clamp(min=_SMALLEST),
            place,
        )
        places = (points * self.hand_std + self.hand_mean).unflatten(-1, (-1, 2))
        score = (shown > 0).to(places).repeat_interleave(HAND_POINTS // SIDES, -1)[..., None]
        return BodyMoves(move, torch.cat([places, score], -1))

    def encode_heads(self, heads: Tensor, picture: Tensor) -> Tensor:
        """Key points of heads (B, T, K, 3) by their distance from those of the picture (B, K, 3): (B, T, 3 K)."""
        return (heads.flatten(-2) - picture.flatten(-2)[:, None]) / self.head_moves.clamp(min=UNUSED)

    def encode_picture(self, heads: Tensor, picture: BodyMoves) -> Tensor:
        """What is known of pictures, heads (B, K, 3) and moves (B, ...), on the renderer's grid: (B, P)."""
        there = hands_seen(picture.hands)
        places = torch.where(there[..., None], 2 * picture.hands[..., :2] - 1, 0.0).flatten(-2)
        return torch.cat([heads.flatten(-2), _flat(picture.move), places, sides_seen(there).to(places)], -1)


def hands_seen(hands: Tensor) -> Tensor:
    """Which points of hands (..., 42, 3) are seen, (..., 42) bool."""
    return (hands[..., 2] >= SEEN) & hands[..., :2].isfinite().all(-1)


def sides_seen(there: Tensor) -> Tensor:
    """Whether the left and the right hand are seen, half of the points (..., 42) of each at least: (..., 2) bool."""
    return there.unflatten(-1, (SIDES, -1)).float().mean(-1) >= 0.5


def _flat(move: FrameMotion) -> Tensor:
    return torch.cat([move.offset.flatten(-2), move.movement.flatten(-2), move.scale, move.place], -1)
