"""Poses as pictures, in DWPose's colours and with soft edges: what a pose guider sees (MMGT-14).

`models.human.draw` draws the same with whole pixels, for people to look at. Here every value follows the points
smoothly: at 64 x 64 a mouth opens by less than a pixel, and a network has to see it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.human.draw import (
    COLOURS,
    FACE_DOT,
    FAR,
    FINGER_COLOURS,
    HAND_JOINT,
    LIMB_COLOURS,
    LIMBS,
    REFERENCE_SIZE,
)
from models.human.keypoints import FACE, LEFT_HAND, LEFT_HAND_EDGES, RIGHT_HAND, RIGHT_HAND_EDGES

THRESHOLD: Final = 0.3  # points with a lower score are not drawn
BUDGET: Final = 1 << 20  # values at once of what is computed on the way
THINNEST: Final = 0.25  # radius in pixels under which strokes would fade


class Strokes(NamedTuple):
    """Strokes that are put on the picture together, where they cross the brighter one of each colour.

    Attributes:
        starts, ends: points that they join; the same one for a dot.
        colours: of each, 0 to 255, or one for all.
        radius: in pixels of a picture whose shorter side has 512.
        tapers: thin at both ends, as DWPose's limbs are.
    """

    starts: Sequence[int]
    ends: Sequence[int]
    colours: Sequence[tuple[int, ...]]
    radius: float
    tapers: bool = False


def _dots(points: slice, colour: tuple[int, ...], radius: float) -> Strokes:
    each = range(points.start, points.stop)
    return Strokes(each, each, [colour], radius)


def _hand(edges: Sequence[tuple[int, int]]) -> Strokes:
    return Strokes([start for start, _ in edges], [end for _, end in edges], FINGER_COLOURS, 1.0)


LAYERS: Final = (
    # A colour is left over, as in `models.human.draw`.
    *(Strokes([a], [b], [colour], 4.0, True) for (a, b), colour in zip(LIMBS, LIMB_COLOURS, strict=False)),
    *(Strokes([point], [point], [colour], 4.0) for point, colour in enumerate(COLOURS)),
    *(_hand(edges) for edges in (LEFT_HAND_EDGES, RIGHT_HAND_EDGES)),
    *(_dots(hand, HAND_JOINT, 4.0) for hand in (LEFT_HAND, RIGHT_HAND)),
    _dots(FACE, FACE_DOT, 3.0),
)
"""What is drawn, the lowest first."""


@torch.no_grad()
def draw_skeletons(pose: Tensor, height: int, width: int, layers: Sequence[Strokes] = LAYERS) -> Tensor:
    """Pictures of poses (MMGT-14).

    Args:
        pose: (..., 134, 3) x and y as fractions of the frame, score; further points for layers that have them.
        height: rows H.
        width: columns W.
        layers: what is drawn, the lowest first.

    Returns:
        (..., 3, H, W) in [0, 1], on black. Points with a score below 0.3, or far outside, are not drawn; limbs that
        lead out of the picture are, as far as they are inside.
    """
    flat = pose.reshape(-1, *pose.shape[-2:]).float()
    pictures = flat.new_zeros(len(flat), 3, height, width)
    if not pose.is_meta:  # where there are no numbers there is nothing to draw
        for frames, canvas in zip(*(x.split(_at_once(height, width)) for x in (flat, pictures)), strict=True):
            _draw(canvas, frames, layers)
    return pictures.view(*pose.shape[:-2], 3, height, width)


def _at_once(height: int, width: int) -> int:
    """Frames of a piece: what moves between them enlarges the boxes that are drawn in."""
    return max(1, min(64, 4 * BUDGET // (height * width)))


def _draw(canvas: Tensor, pose: Tensor, layers: Sequence[Strokes]) -> None:
    """Puts poses (N, 134, 3) on a canvas (N, 3, H, W)."""
    height, width = canvas.shape[-2:]
    visible = (pose[..., 2] >= THRESHOLD) & pose.isfinite().all(-1) & ((pose[..., :2] - 0.5).abs() <= FAR).all(-1)
    xy = torch.where(visible[..., None], pose[..., :2], 0) * torch.tensor((width, height), device=pose.device)
    scale = min(height, width) / REFERENCE_SIZE
    radii = [max(THINNEST, layer.radius * scale) for layer in layers]
    ends = [(torch.tensor(layer.starts), torch.tensor(layer.ends)) for layer in layers]
    ends = [(a.to(pose.device), b.to(pose.device)) for a, b in ends]
    boxes = torch.stack([_box(xy, visible, torch.cat(both)) for both in ends]).tolist()  # the one look at numbers
    for layer, radius, (a, b), (x0, y0, x1, y1) in zip(layers, radii, ends, boxes, strict=True):
        left, right = max(0, int(x0 - radius - 1)), min(width, int(x1 + radius + 2))
        top, bottom = max(0, int(y0 - radius - 1)), min(height, int(y1 + radius + 2))
        if left >= right or top >= bottom:
            continue
        patch = canvas[..., top:bottom, left:right]
        x = torch.arange(left, right, device=pose.device) + 0.5
        y = torch.arange(top, bottom, device=pose.device) + 0.5
        alpha, colour = _ink(xy[:, a], xy[:, b], visible[:, a] & visible[:, b], x, y, layer, radius)
        patch.mul_(1 - alpha).add_(colour)


def _box(xy: Tensor, visible: Tensor, points: Tensor) -> Tensor:
    """Left, top, right and bottom of those points that are seen, over all frames; left beyond right if none is."""
    there, at = visible[:, points, None], xy[:, points]
    low = torch.where(there, at, torch.inf).amin((0, 1)).clamp(-1e6, 1e6)
    high = torch.where(there, at, -torch.inf).amax((0, 1)).clamp(-1e6, 1e6)
    return torch.cat([low, high])


def _ink(
    a: Tensor, b: Tensor, there: Tensor, x: Tensor, y: Tensor, layer: Strokes, radius: float
) -> tuple[Tensor, Tensor]:
    """How far strokes from a to b (N, K, 2) cover pixels, (N, 1, h, w), and their colours there, (N, 3, h, w)."""
    frames, strokes = there.shape
    colours = torch.tensor(layer.colours, device=a.device, dtype=a.dtype) / 255
    alpha = a.new_zeros(frames, 1, len(y), len(x))
    ink = a.new_zeros(frames, 3, len(y), len(x)) if len(colours) > 1 else None
    for part in torch.arange(strokes, device=a.device).split(max(1, BUDGET // (frames * len(x) * len(y)))):
        covered = _cover(a[:, part], b[:, part], x, y, radius, layer) * there[:, part, None, None]
        alpha = torch.maximum(alpha, covered.amax(1, keepdim=True))
        if ink is not None:
            for channel in range(3):
                shaded = (covered * colours[part, channel, None, None]).amax(1)
                ink[:, channel] = torch.maximum(ink[:, channel], shaded)
    return alpha, alpha * colours[0, :, None, None] if ink is None else ink


def _cover(a: Tensor, b: Tensor, x: Tensor, y: Tensor, radius: float, layer: Strokes) -> Tensor:
    """Share of each pixel (N, K, h, w) that lies within a radius of the line from a to b, by the distance to it."""
    dx, dy = x - a[..., :1], y - a[..., 1:]  # (N, K, w) and (N, K, h)
    square = (dx * dx)[..., None, :] + (dy * dy)[..., :, None]
    if layer.starts == layer.ends:
        return (radius + 0.5 - square.sqrt()).clamp_(0, 1)
    span = b - a
    length = span.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    along = (dx * span[..., :1] / length)[..., None, :] + (dy * span[..., 1:] / length)[..., :, None]
    length = length[..., None]
    foot = along.clamp(min=0).minimum(length)
    distance = (square - foot * (2 * along - foot)).clamp_(min=0).sqrt_()
    if not layer.tapers:
        return (radius + 0.5 - distance).clamp_(0, 1)
    width = radius * (1 - (2 * foot / length - 1).square()).clamp_(min=0).sqrt_()
    return (width + 0.5 - distance).clamp_(0, 1)
