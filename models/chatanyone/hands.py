"""Hands as pictures, and how they are brought into the generator (CA-3, CA-10)."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.human.keypoints import LEFT_HAND, LEFT_HAND_EDGES

POINTS: Final = 2 * (LEFT_HAND.stop - LEFT_HAND.start)
"""Key points of both hands, the left one's first."""
SEEN: Final = 0.3
"""Score from which on a point is drawn, as in pictures of poses."""
_ONE: Final = POINTS // 2
_EDGES: Final = [(a - LEFT_HAND.start, b - LEFT_HAND.start) for a, b in LEFT_HAND_EDGES]
_KNUCKLE: Final = 9  # of the middle finger: the palm's length from the wrist
_THICK: Final = 0.14  # radius of a finger, in lengths of the palm
_AT_ONCE: Final = 1 << 23  # numbers of a picture for each limb that are held at once
_THINNEST: Final = 0.75  # pixels: thinner limbs would fall between them


def hand_images(hands: Tensor, height: int, width: int) -> Tensor:
    """The 21 points of each hand drawn as shaded limbs, each pixel where the frame has it (CA-3).

    A limb is a round rod seen from the front: brightest along its middle, dark at its edge (first channel). The second
    says which finger it is and how far along it, the third whose hand: 1 is the left, 0.5 the right. Of limbs over one
    another the one whose middle is nearest is seen. What is not drawn is 0 in all channels.

    Args:
        hands: (R, 42, 3) x and y as fractions of the frame, score; a point under `SEEN` is missing.
        height: rows.
        width: columns.

    Returns:
        (R, 3, height, width) float32 in [0, 1].

    Raises:
        ValueError: other points than those of two hands.
    """
    if hands.ndim != 3 or hands.shape[1:] != (POINTS, 3):
        raise ValueError(
            f"hand_images wants the {_ONE} points of each hand, (R, {POINTS}, 3), the left hand's first; these are "
            f"{tuple(hands.shape)}"
        )
    hands = hands.detach().float()
    canvas = hands.new_zeros(len(hands), 3, height, width)
    there = (hands[..., 2] >= SEEN) & hands.isfinite().all(-1)
    places = torch.where(there[..., None], hands[..., :2], 0.0) * hands.new_tensor([width, height])
    for side, whose in ((0, 1.0), (1, 0.5)):
        points = slice(side * _ONE, (side + 1) * _ONE)
        palm = (places[:, points][:, _KNUCKLE] - places[:, points][:, 0]).norm(dim=-1)
        radius = (_THICK * palm).clamp(min=_THINNEST)
        left, top, right, bottom = _around(places[:, points], there[:, points], radius, height, width)
        if left >= right or top >= bottom:
            continue
        part = canvas[:, :, top:bottom, left:right]
        together = max(1, _AT_ONCE // (len(_EDGES) * (bottom - top) * (right - left)))
        for first in range(0, len(hands), together):
            rows = slice(first, first + together)
            moved = places[rows, points] - places.new_tensor([left, top])
            _draw(part[rows], moved, there[rows, points], radius[rows], whose)
    return canvas


def _around(places: Tensor, there: Tensor, radius: Tensor, height: int, width: int) -> list[int]:
    """Pixels left, top, right and bottom, beyond which nothing of hands (R, 21, 2) in any frame is drawn."""
    if there.is_meta:  # a plan's
        return [0, 0, width, height]
    if not there.any():
        return [0, 0, 0, 0]
    thick = radius[:, None].expand_as(there)[there][:, None]
    low, high = (places[there] - thick).amin(0).floor(), (places[there] + thick).amax(0).ceil()
    limit = places.new_tensor([width, height])
    edges = torch.cat([low, high]).clamp(min=0).minimum(limit.repeat(2))
    return [int(edge) for edge in edges.tolist()]


def _draw(canvas: Tensor, places: Tensor, there: Tensor, radius: Tensor, whose: float) -> None:
    """Draw a hand (R, 21, 2) in pixels, where its points are there (R, 21), into pictures (R, 3, h, w)."""
    y = torch.arange(canvas.shape[2], device=places.device, dtype=torch.float32)[:, None] + 0.5
    x = torch.arange(canvas.shape[3], device=places.device, dtype=torch.float32) + 0.5
    begins, ends = (list(points) for points in zip(*_EDGES, strict=True))
    drawn = (there[:, begins] & there[:, ends])[..., None, None]
    start, along = places[:, begins, :, None, None], (places[:, ends] - places[:, begins])[..., None, None]
    across, down = x - start[:, :, 0], y - start[:, :, 1]  # (R, E, 1, w) and (R, E, h, 1)
    slope = along / along.square().sum(2, keepdim=True).clamp(min=1e-6)
    part = (across * slope[:, :, 0] + down * slope[:, :, 1]).clamp_(0, 1)  # how far along a limb each pixel lies
    away = torch.addcmul(across, part, along[:, :, 0], value=-1).square_()
    off = torch.addcmul(down, part, along[:, :, 1], value=-1)
    nearest, limb = away.addcmul_(off, off).masked_fill_(~drawn, torch.inf).min(1, keepdim=True)
    shade = (1 - nearest / radius[:, None, None, None].square()).clamp_(min=0).sqrt_()
    finger = (limb // 4 + (limb % 4 + part.gather(1, limb)) / 4 + 1) / 6
    pictured = torch.cat([shade, finger, torch.full_like(shade, whose)], 1)
    canvas.copy_(torch.where(shade > canvas[:, :1], pictured, canvas))


class HandInjection(nn.Module):
    """f + AdaIN(I_hand) at one scale of the generator (CA-10; Eq. 5).

    AdaIN(I) = scale(I) * norm(f) + shift(I), norm over each channel's places. Scale and shift are made by convolutions
    without bias, so an empty picture, all zeros, adds exactly nothing. Training begins with nothing added.

    Args:
        channels: of f.
        width: channels inside.
        pictured: channels of the picture.
    """

    def __init__(self, *, channels: int, width: int, pictured: int = 3):
        super().__init__()
        self.enter = nn.Conv2d(pictured, width, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.last = nn.Conv2d(width, 2 * channels, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        """f (R, C, h, w) and the picture (R, 3, H, W), averaged to f's size, to (R, C, h, w)."""
        picture = picture.to(features.dtype)
        if picture.shape[-2:] != features.shape[-2:]:
            picture = F.adaptive_avg_pool2d(picture, (features.shape[-2], features.shape[-1]))
        x = F.silu(self.mix(F.silu(self.enter(picture))))
        scale, shift = self.last(x).chunk(2, 1)
        return features + scale * F.instance_norm(features) + shift
