"""The two regions that classifiers judge and guidance corrects: the face, and all but it (PH-12)."""

from typing import Final, Literal

import torch
from torch import Tensor

from models.human.keypoints import FACE

Region = Literal["face", "nonface"]
RELIABLE: Final = 0.3
"""Score above which a key point says where a face is."""
MARGIN: Final = 0.25
"""Share of its size by which the box of a face is made larger on each side: hair and chin move with it (ours)."""


def grown(box: Tensor, margin: float = MARGIN) -> Tensor:
    """Boxes (..., 4), left, top, right, bottom as fractions of the frame, made larger; none goes beyond the frame."""
    left, top, right, bottom = box.unbind(-1)
    across, along = margin * (right - left), margin * (bottom - top)
    return torch.stack([left - across, top - along, right + across, bottom + along], -1).clamp(0, 1)


def region_mask(box: Tensor, height: int, width: int, region: Region) -> Tensor:
    """1 where latents of a region are, 0 elsewhere, (B, 1, 1, h, w).

    Args:
        box: (B, 4) of the face, left, top, right, bottom as fractions of what the latents cover; a place that it
            touches is face.
        height: h.
        width: w.
        region: the face, or all but it.
    """
    left, top, right, bottom = (side[:, None] for side in box.unbind(-1))
    rows, columns = (torch.arange(n, device=box.device)[None] for n in (height, width))
    down = (rows + 1 > top * height) & (rows < bottom * height)
    across = (columns + 1 > left * width) & (columns < right * width)
    face = down[:, :, None] & across[:, None]
    inside = face if region == "face" else ~face
    return inside[:, None, None].float()


def face_box(poses: Tensor, height: int, width: int, covered: tuple[int, int], reliable: float = RELIABLE) -> Tensor:
    """(4,) the box of a face over some poses, made larger, as fractions of what latents cover.

    Args:
        poses: (T, 134, 3) x and y as fractions of the frame, and score.
        height: of the frame in pixels.
        width: likewise.
        covered: height and width of what its latents stand for, which may be more.
        reliable: score above which a key point counts.

    Raises:
        ValueError: no key point of a face does.
    """
    points = poses[:, FACE].flatten(0, 1)
    points = points[points[:, 2] > reliable][:, :2]
    if not len(points):
        raise ValueError("no face is seen")
    size = points.new_tensor((width / covered[1], height / covered[0]))
    return grown(torch.cat([points.amin(0) * size, points.amax(0) * size]))
